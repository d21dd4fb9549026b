"""The declared nouns: an experiment as frozen, plain values. Nothing here trains; bad values are refused here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Literal

from matx.data import Data, carve
from matx.effect import NO_EFFECT
from matx.errors import OptionError
from matx.exchange import PeerInfo
from matx.experiment.checks import (
    check_classes,
    check_needs,
    check_peers,
    check_placement,
    check_sync_batch_norm,
    check_teacher_modes,
    check_trackers,
    crafting_order,
)
from matx.experiment.opening import data_of
from matx.experiment.tune import Tune
from matx.interfaces import (
    Architecture,
    Attack,
    Augmentation,
    Dataset,
    Metric,
    Optimizer,
    PerturbationUnion,
    Schedule,
    Strategy,
    Tracker,
)
from matx.label_noise import mislabelled
from matx.options import Range, concerning, declare

__all__ = [
    "Evaluation",
    "Experiment",
    "Peer",
    "Tune",
    "check_classes",
    "check_needs",
    "check_placement",
    "crafting_order",
    "data_of",
    "peer_infos",
    "splits_of",
    "teacher_mode",
    "trained_teachers",
]


@declare
@dataclass(frozen=True, kw_only=True)
class Peer:
    """A classifier as declared: what it is, what attacks it, how it learns.

    >>> import matx
    >>> attack = matx.attacks["pgd"](threat=matx.ThreatModel(norm="linf", eps="8/255"), steps=10)
    >>> peer = matx.Peer(
    ...     architecture=matx.architectures["tiny"](), attacks=[attack], optimizer=matx.optimizers["sgd"](lr=0.1)
    ... )
    >>> peer.attacks[0].threat.key
    'linf:8/255'
    """

    architecture: Architecture
    attacks: Sequence[Attack] = ()
    """What it is attacked with in training; none: a natural peer, asked on clean images only."""
    union: PerturbationUnion | None = None
    """How several attacks are faced; needed with more than one."""
    optimizer: Optimizer | None = None
    """How its weights follow its gradients; needed unless it is frozen."""
    schedule: Schedule | None = None
    """The factor on the learning rate over time; None: 1."""
    attack_mode: Literal["eval", "train"] = "eval"
    """The mode of the model while it is attacked; 'train': batch statistics, buffers untouched."""
    teacher_mode: Literal["eval", "train"] | None = None
    """The mode in which it teaches; None: Experiment.teacher_mode, and 'eval' for a frozen peer."""
    ema: Annotated[float, Range(0, 1, open="both")] | None = None
    """Decay of an exponential moving average of the weights and statistics, a step at a time; after t steps at most
    (1 + t) / (10 + t), so that a short run's average does not consist of its first weights. None: none is kept."""
    swa_from: Annotated[float, Range(0)] | None = None
    """From when on the weights at the end of each epoch are averaged uniformly (SWA, Izmailov et al. 2018, arXiv
    1803.05407): a share of the epochs (under 1) or epochs; until then the average is the weights. None: no SWA."""
    refresh: Annotated[int, Range(0)] | None = None
    """On how many training images (clean, as they are, in a fixed order) BatchNorm's statistics of averaged weights are
    measured anew at the end of an epoch; 0: they stay averaged. None: on all for SWA and mixed weights, 0 for EMA."""
    frozen: bool = False
    """True: a teacher that is never trained; it needs `weights`."""
    weight_perturbation: Annotated[float, Range(0)] = 0.0
    """Relative size gamma of adversarial weight perturbation (Wu et al. 2020 use 0.005 to 0.01); 0: none."""
    weight_perturbation_from: Annotated[float, Range(0)] = 0.0
    """Epochs without it at the start."""
    weights: str | None = None
    """Where its weights start: a run folder (with `:PEER` behind it where names differ) or a weights file."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "attacks", tuple(self.attacks))
        if len(self.attacks) > 1 and self.union is None:
            got = f"none for {len(self.attacks)} attacks"
            raise OptionError("union", got=got, allowed="a union; `matx list unions` shows them")
        if self.ema is not None and self.swa_from is not None:
            raise OptionError("swa_from", got=f"{self.swa_from} beside ema {self.ema}", allowed="one of the two")
        if not self.frozen and self.optimizer is None:
            got = "None for a peer that is not frozen"
            raise OptionError("optimizer", got=got, allowed="a component @optimizers.NAME()")
        if self.frozen and self.weights is None:
            raise OptionError("weights", got="None for a frozen peer", allowed="a run folder or a weights file")


@declare
@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How peers are scored. Attacks of one threat model count together: a sample is robust only if all fail.

    >>> import matx
    >>> attack = matx.attacks["pgd"](threat=matx.ThreatModel(norm="l2", eps=0.5), steps=20)
    >>> matx.Evaluation(attacks=[attack], validation_attacks=[attack], images=100).images
    100
    """

    attacks: Sequence[Attack] = ()
    """The reporting suite, run on the test split after training."""
    metrics: Sequence[Metric] = ()
    """What is measured on the test split; none: what the packaged recipes metrics/run and metrics/eval list."""
    validation_attacks: Sequence[Attack] = ()
    """What chooses the best epoch, on validation images: other than the reporting suite, and cheap."""
    select: Literal["raw", "average"] = "raw"
    """The weights that are validated, and by whose score the best epoch is chosen: 'raw', or their averages ('average':
    Peer.ema or Peer.swa_from, of every scored peer), which are then reported beside the raw ones."""
    every: Annotated[int, Range(1)] = 1
    """Validate every so many epochs (and after the last) ..."""
    first: Annotated[int, Range(1)] = 1
    """... but none before this one, so that no earlier epoch is the best."""
    validation_images: Annotated[int, Range(1)] = 1000
    """At most so many validation images, the same in every epoch."""
    scored: Sequence[str] = ()
    """The peers whose mean is the run's score; empty: all that are trained."""
    batch_size: Annotated[int, Range(1)] = 256
    images: Annotated[int, Range(1)] | None = None
    """At most so many test images, from the first; None: all."""

    def __post_init__(self) -> None:
        for name in ("attacks", "metrics", "validation_attacks", "scored"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether an epoch of so many, counted from 1, ends in a validation."""
        return epoch == epochs or (epoch >= self.first and epoch % self.every == 0)

    @property
    def best_by(self) -> Literal["raw", "ema"]:
        """`select` as scores name weights."""
        return "ema" if self.select == "average" else "raw"


@declare
@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment: peers on a dataset, the strategy by which they teach each other, and how they are scored.

    >>> import matx
    >>> attack = matx.attacks["pgd"](threat=matx.ThreatModel(norm="linf", eps=0.1), steps=3)
    >>> peer = matx.Peer(
    ...     architecture=matx.architectures["tiny"](), attacks=[attack], optimizer=matx.optimizers["sgd"](lr=0.1)
    ... )
    >>> experiment = matx.Experiment(
    ...     dataset=matx.datasets["digits"](), peers={"a": peer, "b": peer}, strategy=matx.strategies["independent"](),
    ...     evaluation=matx.Evaluation(attacks=[attack], validation_attacks=[attack]), epochs=1, batch_size=50,
    ... )
    >>> list(experiment.peers)
    ['a', 'b']
    """

    dataset: Dataset
    peers: Mapping[str, Peer]
    strategy: Strategy
    evaluation: Evaluation = field(default_factory=Evaluation)
    epochs: Annotated[int, Range(1)] = 10
    batch_size: Annotated[int, Range(1)] = 128
    micro_batch: Annotated[int, Range(1)] | None = None
    """At most so many images of a batch in a network at a time, where memory is short; None: all of them. Losses and
    gradients are those of the whole batch, at the price of a second training forward; but BatchNorm takes its
    statistics from each part by itself, and a union with memory moves on with each part."""
    seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    augment: Augmentation | Sequence[Augmentation] | None = None
    """What is done to training images, in this order; the same for all peers."""
    validation: Annotated[float, Range(0, 0.9, open="low")] = 0.1
    """The share of train carved out for validation where the dataset has no split of its own."""
    train_limit: Annotated[int, Range(2)] | None = None
    """At most so many training images (a fixed, stratified choice); None: all."""
    label_noise: Annotated[float, Range(0, 1, open="high")] = 0.0
    """The share of the training images whose label is made wrong, drawn by the seed; validation and test stay as they
    are. 0: none."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """Of forwards: 'bf16', or 'auto' (bf16 where the hardware multiplies in it, also on CPUs; a run goes on in what it
    began in). Images, losses, updates, and what says which example is worse or broken are fp32 always."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether the copies that attacks search on are compiled by Inductor, which takes up to minutes at the start of a
    run; 'auto': on CUDA alone. On CPUs 'on' needs a C++ compiler, and gains a few percent in bf16."""
    batch_norm: Literal["joint", "separate", "sequential"] = "joint"
    """'joint': all sources of a peer in one training forward; 'separate': a forward each, running statistics from its
    own alone; 'sequential': a forward each, own first and clean last, and each updates running statistics, as in most
    published codes."""
    sync_batch_norm: bool = False
    """Of several processes that share batches, on GPUs: whether BatchNorm takes the statistics of training forwards of
    the whole batch (torch's SyncBatchNorm), instead of each process's part."""
    teacher_mode: Literal["eval", "train"] | None = None
    """The mode in which peers that are trained teach: 'train' (the statistics of the batch that is asked about, one
    source at a time; running statistics untouched) or 'eval'. None: 'train', but averages of weights 'eval'."""
    update_order: Literal["simultaneous", "alternating"] = "simultaneous"
    """'simultaneous': all peers step after all losses; 'alternating': each at once, later peers see the new answers."""
    patience: Annotated[int, Range(1)] | None = None
    """Stop after so many validations in a row without a better score (robust early stopping); None: never. The learning
    rate's schedule still reckons with all epochs."""
    checkpoint_every: Annotated[int, Range(1)] | None = field(default=None, metadata=NO_EFFECT)
    """Also save every so many steps; None: at the end of each epoch."""
    placement: Literal["samples", "peers"] = field(default="samples", metadata=NO_EFFECT)
    """Of several processes: 'samples': each takes a part of every batch; 'peers': each owns some of the peers."""
    shards: Annotated[int, Range(1)] = field(default=1, metadata=NO_EFFECT)
    """With placement 'peers': so many processes own the same peers and share each batch."""
    trackers: Sequence[Tracker] | None = field(default=None, metadata=NO_EFFECT)
    """Who writes down what the run tells as it goes; None: those that the packaged recipe trackers/run lists;
    []: none, and metrics.jsonl has the figures."""
    tune: Tune = field(default_factory=Tune, metadata=NO_EFFECT)
    """What `matx tune` searches; a run does not read it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "peers", MappingProxyType(dict(self.peers)))
        if self.batch_size < 2:
            allowed = "2 or more, as the statistics of a batch need two images"
            raise OptionError("batch_size", got=str(self.batch_size), allowed=allowed)
        if self.trackers is not None:
            object.__setattr__(self, "trackers", tuple(self.trackers))
        check_trackers(self)
        check_peers(self)
        with concerning(self.strategy):
            needs = self.strategy.needs(peer_infos(self))
            check_needs(needs, self)
        check_teacher_modes(needs, self)
        check_placement(needs, self)
        check_sync_batch_norm(self)

    @property
    def augmentations(self) -> tuple[Augmentation, ...]:
        """`augment` as a tuple, empty for None."""
        if self.augment is None:
            return ()
        return tuple(self.augment) if isinstance(self.augment, Sequence) else (self.augment,)

    @property
    def scored(self) -> tuple[str, ...]:
        """The peers whose mean is the run's score."""
        trained = tuple(name for name, peer in self.peers.items() if not peer.frozen)
        return tuple(self.evaluation.scored) or trained


def splits_of(experiment: Experiment, data: Data) -> Data:
    """The splits that an experiment trains and validates on, of its dataset's `data`."""
    carved = carve(data, validation=experiment.validation, train_limit=experiment.train_limit)
    train = mislabelled(carved.train, experiment.label_noise, data.num_classes, seed=experiment.seed)
    return replace(carved, train=train)


def peer_infos(experiment: Experiment) -> tuple[PeerInfo, ...]:
    """What the strategy may know of the peers, in declared order."""
    return tuple(peer_info(name, peer) for name, peer in experiment.peers.items())


def peer_info(name: str, peer: Peer) -> PeerInfo:
    """What a strategy may know of one peer."""
    count = len(peer.attacks)
    return PeerInfo(
        name=name,
        threats=tuple(attack.threat for attack in peer.attacks),
        views=count if peer.union is None else peer.union.views(count),
        says_winners=peer.union.says_winners if peer.union is not None else count == 1,
        frozen=peer.frozen,
        ema=peer.ema is not None,
    )


def trained_teachers(experiment: Experiment) -> tuple[str, ...]:
    """The peers that teach and are trained: those that `Experiment.teacher_mode` is for."""
    needs = experiment.strategy.needs(peer_infos(experiment))
    teaching = {peer for peer, _ in needs.teach | needs.ema}
    return tuple(name for name, peer in experiment.peers.items() if name in teaching and not peer.frozen)


def teacher_mode(experiment: Experiment, name: str, *, average: bool = False) -> Literal["eval", "train"]:
    """The mode in which a peer teaches, by its own weights or by their average."""
    peer = experiment.peers[name]
    if peer.teacher_mode is not None:
        return peer.teacher_mode
    if peer.frozen:
        return "eval"
    return experiment.teacher_mode or ("eval" if average else "train")
