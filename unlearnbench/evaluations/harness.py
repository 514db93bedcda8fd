"""Harness: what is left of general knowledge, and of hazardous knowledge, by public benchmarks?

Gao et al.: The Language Model Evaluation Harness, Zenodo 2024, doi:10.5281/zenodo.12608602. By default WMDP, whose
answers should fall to chance (.25) where hazardous knowledge was to be forgotten (Li et al., ICML 2024,
arXiv:2403.03218), and MMLU, which should stay (Hendrycks et al., ICLR 2021, arXiv:2009.03300). Every role is asked in
memory, as it is scored elsewhere: nothing is saved or merged for it. Needs the extra `eval`.

Differs from lm-eval's command in the seed of examples, which is fixed, and in that no standard error is bootstrapped.
Null: the retrained models' own values; the floor is the mean difference of two of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from unlearnbench.contracts import Kind
from unlearnbench.errors import UserError
from unlearnbench.evaluations.evaluation import Column, Found, Models, Row, by_role
from unlearnbench.graph.stage import Stage
from unlearnbench.ranges import Count, Limit
from unlearnbench.stages.harnessed import Asked, Harnessed, check
from unlearnbench.stages.world import World

Numbers = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Harness:
    """Ask every role the questions of lm-eval's tasks, such as wmdp and mmlu (needs the extra `eval`)."""

    tasks: Annotated[tuple[str, ...], Field(min_length=1, max_length=1000)]
    limit: Limit | None
    shots: Annotated[int, Field(ge=0, le=100)] | None
    chat: bool
    batch_size: Count
    root: Path | None = field(metadata={"key": False})
    kinds: ClassVar[frozenset[Kind]] = frozenset({"text"})
    headline: ClassVar[tuple[Column, ...]] = (Column("harness_acc", "wmdp"), Column("harness_acc", "mmlu"))

    def files(self) -> dict[str, Path]:
        """Return the files of local data; their content is part of the run's key."""
        found = self._asked.files()
        several = (file for files in found.values() for shards in files.values() for file in shards)
        return {f"{file.parent.name}/{file.name}": file for file in several}

    @property
    def _asked(self) -> Asked:
        return Asked(
            tasks=self.tasks, limit=self.limit, shots=self.shots, chat=self.chat, batch=self.batch_size, root=self.root
        )

    def stages(self, models: Models, world: World) -> Mapping[str, Stage]:
        """Return one stage a role; raise UserError for what lm-eval cannot be asked, or asked about."""
        if getattr(models.unlearned, "prompts", False):
            raise UserError(
                "eval=harness asks the model alone, and this method only puts a prompt or a filter around it.\n"
                "Try: a method that changes weights, or eval=[standard]"
            )
        if self.root is not None and not self.root.is_dir():
            raise UserError(f"eval.harness.root={self.root} is not a folder.\nTry: eval.harness.root=FOLDER")
        check(self._asked)
        return {role: Harnessed(world.bench, model, self._asked) for role, model in models.roles()}

    def measure(self, found: Found) -> Iterable[Row]:
        """Return lm-eval's numbers as `harness_<metric>` on a split by the task's name, with gaps and floors.

        `harness_acc` is in [0, 1]; perfect is the retrained model's value, and chance is one over the answers to choose
        from (WMDP, MMLU: .25). Other metrics are as lm-eval defines them.
        """
        values: dict[str, Numbers] = {role: found.artefact(role).facts["results"] for role, _ in found.models.roles()}
        for task, metrics in values["unlearned"].items():
            for name in metrics:
                yield from by_role(f"harness_{name}", task, {role: one[task][name] for role, one in values.items()})
