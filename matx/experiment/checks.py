"""What only the whole of an experiment shows: peers that read each other, needs that nobody serves, too few classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matx.errors import OptionError
from matx.exchange import CLEAN, Mix, Needs
from matx.interfaces import sources_of
from matx.losses import CLASSES_NEEDED
from matx.options import concerning, one_of

if TYPE_CHECKING:
    from matx.experiment import Experiment, Peer

__all__ = [
    "check_classes",
    "check_needs",
    "check_peers",
    "check_placement",
    "check_sync_batch_norm",
    "check_teacher_modes",
    "check_trackers",
    "crafting_order",
]


def check_classes(experiment: Experiment, classes: int) -> None:
    """Refuse attacks whose `objective` is not defined for so few classes, before anything is trained."""
    evaluation = experiment.evaluation
    suites = {f"attacks of peer {name!r}": peer.attacks for name, peer in experiment.peers.items()}
    suites |= {"Evaluation.validation_attacks": evaluation.validation_attacks, "Evaluation.attacks": evaluation.attacks}
    for where, suite in suites.items():
        for position, attack in enumerate(suite):
            objective = getattr(attack, "objective", None)
            needed = CLASSES_NEEDED.get(objective, 0) if isinstance(objective, str) else 0
            if classes < needed:
                more = f"at least {needed}; use 'cross_entropy' or 'margin'"
                raise OptionError(
                    f"{where}[{position}]: objective {objective!r}", got=f"{classes} classes", allowed=more
                )


def check_peers(experiment: Experiment) -> None:
    """Refuse a cast without a peer to train, bad names, and attacks that read examples of nobody or in a circle."""
    peers = experiment.peers
    if not any(not peer.frozen for peer in peers.values()):
        raise OptionError("peers", got="none that is trained", allowed="at least one peer that is not frozen")
    for name in peers:
        if not name.isidentifier() or name == CLEAN:
            raise OptionError("peers", got=f"the name {name!r}", allowed=f"an identifier other than {CLEAN!r}")
    for name in experiment.evaluation.scored:
        with concerning(experiment.evaluation):
            one_of("scored", name, tuple(peers))
    for name in experiment.scored if experiment.evaluation.select == "average" else ():
        if peers[name].ema is None and peers[name].swa_from is None:
            got = f"'average' for peer {name!r}, which keeps none"
            with concerning(experiment.evaluation):
                raise OptionError("select", got=got, allowed="'raw'; or set Peer.ema or Peer.swa_from")
    for attack in (attack for peer in peers.values() for attack in peer.attacks):
        for source in sources_of(attack):
            with concerning(attack):
                one_of("sources", source, tuple(peers))
    crafting_order(peers, tuple(peers))


def crafting_order(peers: Mapping[str, Peer], wanted: Sequence[str]) -> tuple[str, ...]:
    """The wanted peers and those whose examples their attacks read, each after what it reads; cycles are refused."""
    done: dict[str, None] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            cycle = " -> ".join((*path[path.index(name) :], name))
            got = f"a cycle of attacks ({cycle})"
            raise OptionError("sources", got=got, allowed="an order in which all can be crafted")
        if name in done:
            return
        for attack in peers[name].attacks:
            for source in sources_of(attack):
                with concerning(attack):
                    visit(source, (*path, name))
        done[name] = None

    for name in wanted:
        visit(name, ())
    return tuple(done)


def check_placement(needs: Needs, experiment: Experiment) -> None:
    """Refuse peers on processes of their own where more than images and detached logits would have to cross."""
    if experiment.placement != "peers":
        if experiment.shards != 1:
            raise OptionError("shards", got=f"{experiment.shards} with placement 'samples'", allowed="1, or 'peers'")
        return
    crossing = {
        "a strategy that couples peers by gradient": bool(needs.couples),
        "a strategy that mixes the weights of peers": bool(needs.mix),
        "attacks that differentiate through two peers": any(needs.craft.values()),
    }
    for what, crosses in crossing.items():
        if crosses:
            raise OptionError("placement", got=f"'peers' with {what}", allowed="'samples'")


def check_sync_batch_norm(experiment: Experiment) -> None:
    """Refuse statistics over processes where these would wait for each other in an attack, or take other forwards."""
    if not experiment.sync_batch_norm:
        return
    crafting = next((name for name, p in experiment.peers.items() if p.attacks and p.attack_mode == "train"), None)
    obstacles = {
        f"peer {crafting!r} of attack_mode 'train', whose attacks would wait for other processes": crafting is not None,
        "micro_batch, as processes may have other numbers of parts": experiment.micro_batch is not None,
        "placement 'peers', whose processes take whole batches": experiment.placement == "peers",
    }
    for what, hinders in obstacles.items():
        if hinders:
            raise OptionError("sync_batch_norm", got=f"True with {what}", allowed="False there")


def check_needs(needs: Needs, experiment: Experiment) -> None:
    """Refuse needs that name unknown peers, ask for examples that nobody crafts, or train a frozen peer."""
    peers = experiment.peers
    trained = {name for name, peer in peers.items() if not peer.frozen}
    served = {*needs.train, *needs.mix}
    if served != trained:
        raise OptionError(
            f"strategy: trains {', '.join(sorted(served)) or 'nobody'}, "
            f"but the peers that are not frozen are {', '.join(sorted(trained))}"
        )
    for mixed, mix in needs.mix.items():
        _check_mix(mixed, mix, experiment)
    asked = {(peer, source) for peer, sources in needs.train.items() for source in sources}
    for peer, source in asked | needs.teach | needs.ema:
        one_of("needs: peer", peer, tuple(peers))
        one_of("needs: source", source, (CLEAN, *peers))
        if source != CLEAN and not peers[source].attacks:
            raise OptionError(f"strategy: wants examples of peer {source!r}, which has no attacks: set Peer.attacks")
    for peer, _ in needs.ema:
        if peers[peer].ema is None:
            raise OptionError(f"strategy: asks the moving average of peer {peer!r}, which keeps none: set Peer.ema")
    for peer in needs.winners:
        one_of("needs: winners of peer", peer, tuple(peers))
        union = peers[peer].union
        if union is not None and not union.says_winners:
            got = f"{union!r} of peer {peer!r}, which does not say which attack each example came from"
            raise OptionError(
                "strategy: needs the winner of every example", got=got, allowed="a union whose says_winners is True"
            )
    for peer, others in needs.craft.items():
        for name in (peer, *others):
            one_of("needs: objective of peer", name, tuple(peers))


def check_teacher_modes(needs: Needs, experiment: Experiment) -> None:
    """Refuse a mode of teaching where nobody teaches who would follow it."""
    teaching = {peer for peer, _ in needs.teach | needs.ema}
    for name, peer in experiment.peers.items():
        if peer.teacher_mode is not None and name not in teaching:
            got = f"{peer.teacher_mode!r} for peer {name!r}, which teaches nobody"
            raise OptionError("Peer.teacher_mode", got=got, allowed="none")
    if experiment.teacher_mode is not None and all(experiment.peers[name].frozen for name in teaching):
        got = f"{experiment.teacher_mode!r} where no peer that is trained teaches"
        allowed = "none; Peer.teacher_mode is that of a frozen teacher"
        raise OptionError("teacher_mode", got=got, allowed=allowed if teaching else "none")


def _check_mix(mixed: str, mix: Mix, experiment: Experiment) -> None:
    """Refuse shares that are no average, times that never come, and members of another architecture."""
    peers, where = experiment.peers, f"needs: the mix of peer {mixed!r}"
    for member, share in mix.members.items():
        one_of(where, member, tuple(peers))
        if not share >= 0.0:
            raise OptionError(f"{where}: share of {member!r}", got=str(share), allowed="0 or more")
        if peers[member].architecture != peers[mixed].architecture:
            got = f"member {member!r} of architecture {peers[member].architecture!r}"
            raise OptionError(where, got=got, allowed=f"that of the mix, {peers[mixed].architecture!r}")
    if not math.isclose(math.fsum(mix.members.values()), 1.0, abs_tol=1e-6):
        raise OptionError(where, got=f"shares that sum to {math.fsum(mix.members.values()):g}", allowed="1")
    if not 1 <= mix.every <= experiment.epochs:
        raise OptionError(where, got=f"every {mix.every} epochs", allowed=f"1 to the {experiment.epochs} epochs")


def check_trackers(experiment: Experiment) -> None:
    """Refuse two trackers of one kind: both would go on with what either has begun."""
    kinds = [type(tracker) for tracker in experiment.trackers or ()]
    for kind in kinds:
        if kinds.count(kind) > 1:
            got = f"{kinds.count(kind)} of {kind.__name__}"
            raise OptionError("trackers", got=got, allowed="each tracker once")
