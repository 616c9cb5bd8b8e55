"""All mutants."""

from __future__ import annotations

from . import (
    Mutant,
    api,
    basics,
    bounds,
    certificates,
    cluster,
    command_line,
    doctor,
    failures,
    fan_out,
    hostile,
    keys,
    metrics,
    model,
    presence,
    publishing,
    reading,
    redis,
    reload,
    rooms,
)

MUTANTS: tuple[Mutant, ...] = (
    *basics.MUTANTS,
    *failures.MUTANTS,
    *fan_out.MUTANTS,
    *bounds.MUTANTS,
    *reading.MUTANTS,
    *hostile.MUTANTS,
    *model.MUTANTS,
    *redis.MUTANTS,
    *doctor.MUTANTS,
    *certificates.MUTANTS,
    *cluster.MUTANTS,
    *metrics.MUTANTS,
    *reload.MUTANTS,
    *rooms.MUTANTS,
    *keys.MUTANTS,
    *presence.MUTANTS,
    *publishing.MUTANTS,
    *command_line.MUTANTS,
    *api.MUTANTS,
)
