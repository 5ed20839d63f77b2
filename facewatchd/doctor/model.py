"""Check of the model that the next start would use. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from facewatchd.config import AUTO_MODEL, Config
from facewatchd.doctor import model_trial
from facewatchd.doctor.finding import Finding
from facewatchd.models.devices import Placement
from facewatchd.store.data_directory import LastRun

if TYPE_CHECKING:
    from facewatchd.models.registry import Pack


def on_this_machine(loaded: Config) -> Pack | None:
    """Return the pack that a daemon would use without a network; None where there is none."""
    from facewatchd.models import registry, zoo

    last = LastRun.of(loaded.data_dir).pack
    wanted = [last, registry.DEFAULT, zoo.NAME] if loaded.model == AUTO_MODEL else [loaded.model]
    return next((found for name in wanted if name and (found := registry.find(name, loaded.model_root))), None)


def check(loaded: Config) -> Iterator[Finding]:
    """Load the model, and show it a photo of six people."""
    from facewatchd.models import registry, zoo

    pack = on_this_machine(loaded)
    if pack is None:
        yield _no_model(loaded)
        return
    if loaded.model == AUTO_MODEL and pack.name == zoo.NAME and LastRun.of(loaded.data_dir).pack != pack.spec:
        detail = (
            f"{registry.DEFAULT} is not here: the next start tries to fetch it, and uses {zoo.NAME} where it cannot"
        )
        hint = f"fetch it now with `facewatchd models fetch {registry.DEFAULT}`, or set `model`"
        yield Finding("model", "warn", detail, hint)
    result = model_trial.run(pack, loaded.resources.device)
    detail = (
        f"{pack.id}: {result['faces']} faces on a test photo, loaded in {result['load_s']:.1f} s and found in "
        f"{result['faces_s']:.1f} s"
    )
    if not result["faces"]:
        yield Finding("model", "fail", f"{detail}; there are six", "fetch it again, or choose another with --model")
    elif result["closest"] >= result["threshold"]:
        people = f"two people on it are {result['closest']:.2f} alike, and {result['threshold']:.2f} is a match"
        yield Finding("model", "warn", f"{detail}; {people}", "set a higher [query] threshold")
    else:
        yield Finding("model", "ok", detail)
    yield _device(Placement(**result["placement"]))
    yield Finding("licence", "ok", f"{pack.name}: {registry.licence(pack.name)}", registry.licence_note(pack.name))


def _device(placement: Placement) -> Finding:
    """Tell what computes the model, and why."""
    if placement.reason and not placement.devices:
        hint = 'set `device` under [resources] to "cpu" if that is as it should be'
        return Finding("device", "warn", f"the processor computes: {placement.reason}", hint)
    return Finding("device", "ok", placement.words)


def _no_model(loaded: Config) -> Finding:
    from facewatchd.models import registry, zoo

    if loaded.model == AUTO_MODEL:
        detail = f"{registry.DEFAULT} is not here: the next start fetches it, and {zoo.NAME} where it cannot"
        return Finding("model", "warn", detail, registry.ways_out())
    if loaded.model in registry.FETCHED:
        return Finding("model", "warn", f"{loaded.model} is not here: the next start fetches it", registry.ways_out())
    return Finding("model", "fail", f"there is no model {loaded.model}", "see `facewatchd models list`")
