"""The settings that evaluations with a shadow ensemble share; those with equal ones share its models."""

from __future__ import annotations

from dataclasses import dataclass, field

from unlearnbench.errors import UserError
from unlearnbench.evaluations.evaluation import Models
from unlearnbench.ranges import Count
from unlearnbench.stages.ensemble import Ensemble, ensemble
from unlearnbench.stages.train import repeatable
from unlearnbench.stages.world import World


@dataclass(frozen=True, kw_only=True)
class Shadowed:
    """Train `models` shadows, each on some of `targets` rows. `together` models are one stage."""

    models: Count
    targets: Count
    together: Count = field(metadata={"key": False})

    def design(self, models: Models, world: World, name: str) -> Ensemble:
        """Return the ensemble; raise UserError, for the evaluation `name`, where there cannot be one."""
        if world.before or not world.last:
            raise UserError(
                f"eval={name} asks about one request, and a stream has several.\n"
                "Try: one forget set, or 'eval=[standard]'"
            )
        recipe = repeatable(models.original, f"eval={name}", "'eval=[standard]'").recipe
        return ensemble(world, recipe, self.models, self.targets, self.together, name)
