"""What each evaluation asks, and what its answer cannot show: for people who do not know it."""

from __future__ import annotations

from typing import NamedTuple


class Asked(NamedTuple):
    """The question of an evaluation, what a good answer shows, and what it does not."""

    question: str
    shows: str
    not_shown: str


EVALUATIONS = {
    "standard": Asked(
        "Does the model answer as one would that never saw the rows, and do its outputs give away which rows it was "
        "trained on?",
        "Right answers, certainty and simple membership attacks on the outputs are like those of retrained models.",
        "That nothing is left. Attacks that look at the outputs alone miss what a stronger attacker finds, and equal "
        "averages may hide single rows that are still known.",
    ),
    "rmia": Asked(
        "Can an attacker who has a few models without the rows tell from the outputs that a row was trained on?",
        "This attack, a strong one for few models, does no better than on retrained models.",
        "What an attacker with many models, or with the weights, could find.",
    ),
    "calibrated": Asked(
        "Is a row's loss lower than its own difficulty explains?",
        "Rows are not easier for the model than for models that never saw them.",
        "What an attacker with many models, or with the weights, could find.",
    ),
    "ulira": Asked(
        "Can an attacker who knows the method, and trains many models himself, tell forgotten rows from unseen ones?",
        "The strongest known attack on the outputs of this method does no better than chance.",
        "Anything of this very model: the attack is on models that were trained and unlearned in the same way.",
    ),
    "lira": Asked(
        "How much do models of this kind remember of single rows before anything is forgotten?",
        "How much there is to forget.",
        "Anything of the unlearned model.",
    ),
    "min_k": Asked(
        "Are even the unlikeliest words of a forgotten answer likelier than those of held-out answers?",
        "By this attack, forgotten texts look like texts that were in no training data.",
        "Whether the content is still known in other words.",
    ),
    "zlib": Asked(
        "Is a forgotten answer likelier than its repetitiveness explains?",
        "By this attack, forgotten texts look like texts that were in no training data.",
        "Whether the content is still known in other words; for answers of a few words it says little.",
    ),
    "privleak": Asked(
        "By how many percent is membership easier or harder to tell than after retraining?",
        "Neither too little nor too much was forgotten, as far as this attack sees.",
        "What another attack would find.",
    ),
    "relearn": Asked(
        "Does further training on a part of the rows bring back the others?",
        "What was forgotten returns no faster than in a model that never knew it.",
        "Whether another training, longer or on other data, would bring it back.",
    ),
    "quantise": Asked(
        "Does rounding the weights bring back what was forgotten?",
        "Smaller copies of the model, with fewer bits, know no more of the rows.",
        "Whether other changes of the weights would.",
    ),
    "probe": Asked(
        "Is the knowledge still inside the model, though it does not say it?",
        "A simple reader of the inner states finds no more than in a retrained model.",
        "What a cleverer reader would find.",
    ),
    "variants": Asked(
        "Does the answer return when the question is put otherwise?",
        "These other ways of asking bring back no more than from a retrained model.",
        "Whether still other questions, or many attempts, would.",
    ),
    "fluency": Asked(
        "Does the model still write sound texts?",
        "Forgetting did not break its language.",
        "Anything about what it remembers.",
    ),
    "path": Asked(
        "What happened between the original and the end, and should the method have stopped earlier?",
        "Whether the chosen end was a good one.",
        "Anything that the measures used along the way do not see.",
    ),
    "corrective": Asked(
        "Once the known manipulated rows are forgotten, does the manipulation still work?",
        "Whether the manipulation is gone, also where only a part of it was known.",
        "Whether there are other manipulations.",
    ),
    "comeback": Asked(
        "After later requests, does what was forgotten first come back?",
        "Earlier requests stay fulfilled, by the share of right answers.",
        "Whether stronger attacks on the earlier rows would succeed.",
    ),
    "klom": Asked(
        "Over many models, is each row treated as by retrained models?",
        "A number of a whole sweep, not of this run.",
        "Anything of one run alone.",
    ),
    "forgetting_score": Asked(
        "Over many models, can an attack on a row tell unlearned from retrained ones?",
        "A number of a whole sweep, not of this run.",
        "Anything of one run alone.",
    ),
    "muse": Asked(
        "Does the model repeat the texts, know their content, or show that they were trained on?",
        "By the published suite MUSE, what is left of texts and content.",
        "Whether other questions or attacks would find more.",
    ),
    "rwku": Asked(
        "Does the model still know a person, however it is asked, and still know others?",
        "By the published suite RWKU and its attacks, what is left.",
        "Whether other questions or attacks would find more.",
    ),
    "harness": Asked(
        "What is left of general and of hazardous knowledge, by public tests?",
        "How the model does in the named public tests.",
        "Anything about the rows of this request.",
    ),
}
"""By the name of the evaluation; those of plugins have none."""

STRONGER = {
    "relearn": "whether further training would bring back what was forgotten",
    "quantise": "whether rounding the weights would bring it back",
    "probe": "whether the knowledge is still inside the model and only not said",
    "ulira": "whether an attacker who trains many models of his own could tell which rows were forgotten",
}
"""What stays unknown where an evaluation did not run, of images and of text."""

LIMITS = (
    "No measurement can show that nothing is left of the rows. It can only show that the named attacks found no more "
    "than in a model that never saw them. The same share of right answers as a retrained model is no proof.",
    "This page is about one model, whose weights have the digest in section 6. It says nothing about its other copies "
    "and earlier versions, backups, or models derived from it by further training, distillation, merging or rounding.",
    "Unlearning changes a model and erases no data. Data sets, caches, logs, backups and answers that the model gave "
    "before were not looked at.",
    "The rows are those that the request named. Whether they are all rows about a person or a matter was not checked; "
    "other rows that say the same teach the model the same.",
    "The program that made this page was run by the owner of the model. The page is not signed: whoever relies on it "
    "can ask for the files that the digests identify, or have the run repeated.",
    "Whether this is enough for a request under data protection law is a legal question, which no number answers.",
)
"""What holds for every page."""
