"""Specs: the settings of each job as typed dictionaries, which travel as canonical JSON (`bigain.core.records`).

`bigain.study` builds them, `bigain.jobs` and `bigain.reporting` read them. A spec holds everything that the result of a
job depends on and nothing else, so equal specs mean equal results, and a change in the config re-runs exactly the jobs
whose specs it changes. Keys and values identify finished results on disk: renaming a key computes them again.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict, final

# -- parts that several specs share ------------------------------------------------------------------------------------

CodeVersions = dict[str, str]
"""Fingerprint of the code behind the results, by part (see `bigain.study.fingerprints`)."""

MethodDefinition = dict[str, str | dict[str, str]]
"""Operator, options and layers of a compression method as text: every field of `Method` but its id and label."""


class BackboneSpec(TypedDict):
    """A diffusion model on disk; `levels`, `blocks` and `metric_site` are there where a token method may act on it."""

    id: str  # name in the config
    family: Literal["unet", "dit", "mmdit", "flux"]
    path: str  # folder in diffusers' format
    dtype: Literal["float32", "float16", "bfloat16"]
    weights: str  # sha256 over the files, or "absent"
    device: Literal["cpu", "cuda", "auto"]
    compile: Literal["off", "default", "max-autotune"]  # mode of torch.compile
    levels: NotRequired[list[int] | None]  # U-Net resolution levels that are compressed, 0 the highest; null: default
    blocks: NotRequired[list[int] | None]  # transformer blocks that are compressed; null: all
    metric_site: NotRequired[Literal["block_input", "norm1_output"] | None]  # tokens to compare; null: default


class DatasetSpec(TypedDict):
    """A data set as a reader presents it."""

    id: str  # name in the config
    reader: str  # key of `bigain.datasets.SOURCES`
    path: str
    prompts: Literal["paper", "released"]
    candidates: list[int] | None  # classes to choose from; null: all
    data: str  # fingerprint of files, labels and captions, or "absent"
    labels: NotRequired[str]  # CSV file in a folder of your images; classes are sub-folders without
    prompt: NotRequired[str]  # template of their classes' prompts
    class_names: NotRequired[str]  # CSV file in that folder
    class_ids: NotRequired[dict[str, int]]  # of a class-conditioned model
    subset: NotRequired[str | None]  # which images are classified; null: all
    allow_missing: NotRequired[int]  # unreadable images that are left out before the job fails


class FeatureNetworkSpec(TypedDict):
    """The network whose features the Fréchet distance compares."""

    name: Literal["fashion-net", "inception"]
    weights: str  # file
    sha256: str  # of that file, checked before it is opened, or "absent"


@final
class StageSchedule(TypedDict):
    """Stages of the adaptive classifier (Algorithm 1, Table 10)."""

    stages: list[int]  # trials per class by the end of each stage, cumulative
    keep: list[int]  # classes that survive each stage


@final
class SamplerSettings(TypedDict):
    """Sampling settings."""

    steps: int
    guidance: float  # scale of classifier-free guidance


class EliminationSettings(TypedDict):
    """Schedule that drops a class once it is far enough behind the leading class."""

    z: float  # standard errors of the mean difference
    every: int  # trials between looks


class CellSpec(TypedDict):
    """A cell of the study as the rows of the tidy results name it."""

    task: Literal["classification", "generation"]
    backbone: str
    dataset: str
    method: str
    strength: float | int | None
    strength_kind: Literal["none", "merge_ratio", "threshold", "downsample_factor", "flops_reduction_percent"]
    seed: int


# -- inputs that all methods share -------------------------------------------------------------------------------------


class EncodeImagesSpec(TypedDict):
    """`bigain encode-images`: latents of a data set."""

    backbone: BackboneSpec
    dataset: DatasetSpec
    images: int  # the first so many
    threads: int  # CPU threads of torch
    code: CodeVersions


class EncodeConditionsSpec(TypedDict):
    """`bigain encode-conditions`: embeddings of the candidates' prompts, and of captions to generate from."""

    backbone: BackboneSpec
    dataset: DatasetSpec
    captions: int  # of the first so many images; 0: none are generated
    threads: int
    code: CodeVersions


class RealImageRecipe(TypedDict):
    """Preprocessing of a real image for the feature network."""

    crop: Literal["centre", "squash"]
    size: int  # side of the crop in pixels
    filter: Literal["bicubic", "bilinear", "lanczos", "box"]  # of the crop's resizing
    batch: int  # images that go through the network together


class ReferenceSpec(TypedDict):
    """`bigain reference-features`: features of a data set's real images."""

    dataset: DatasetSpec
    recipe: RealImageRecipe
    feature_network: FeatureNetworkSpec
    threads: int
    device: Literal["cpu", "cuda", "auto"]
    code: CodeVersions


class CalibrateSpec(TypedDict):
    """`bigain calibrate`: a structural method (DiP-GO, MosaicDiff) fitted to a backbone."""

    backbone: BackboneSpec
    dataset: DatasetSpec  # of a training split
    method: str
    definition: MethodDefinition
    reduction: float | int | None  # operations to save, in percent
    seed: int
    images: int  # the first so many
    updates: NotRequired[int]  # training steps of DiP-GO's pruner
    protocol: NotRequired[StageSchedule | SamplerSettings]  # DiP-GO's gates belong to the task's timesteps
    threads: int
    code: CodeVersions


class Calibration(TypedDict):
    """The calibration a cell with a structural method runs with: its file, and how that was made."""

    file: str
    spec: CalibrateSpec


class MeasureBatchSpec(TypedDict):
    """`bigain measure-batch`: the classifier's rows of a forward pass that are fastest on a backbone."""

    backbone: BackboneSpec
    threads: int
    code: CodeVersions


class MeasuredBatch(TypedDict):
    """The measured batch that a cell runs with: its file, and how that was made."""

    file: str
    spec: MeasureBatchSpec


# -- cells -------------------------------------------------------------------------------------------------------------


class CellJobSpec(TypedDict):
    """Keys shared by the classification and generation jobs of a cell."""

    results: str  # the study's folder of results
    task: Literal["classification", "generation"]
    backbone: BackboneSpec
    dataset: DatasetSpec
    method: str
    definition: MethodDefinition
    strength: float | int | None
    methods_from: NotRequired[list[str]]  # files or entry points of a method from outside
    calibration: NotRequired[Calibration]  # of structural methods
    seed: int
    block: int  # images that go through the model together
    shard: int  # images per file of intermediate results
    images: list[int]  # positions [first, last) in the data set
    threads: int
    code: CodeVersions


class ClassificationProtocol(TypedDict):
    """Settings of the diffusion classifier."""

    stages: list[int]  # trials per class by the end of each stage, cumulative
    keep: list[int]  # classes that survive each stage
    timesteps: Literal["grid", "random"]
    loss: Literal["l2", "l1", "huber"]
    noise: Literal["keyed", "released"]  # keyed by (seed, image, t), or one stream in the data set's order
    batch: int | Literal["auto"]  # rows of a forward pass; auto: those that were measured
    smaller_batch: int | None  # rows where `batch` does not fit into memory; null: that is an error
    elimination: EliminationSettings | None  # instead of stages


class ClassifySpec(CellJobSpec):
    """`bigain classify`: one cell on one range of images."""

    protocol: ClassificationProtocol
    measured_batch: NotRequired[MeasuredBatch]  # if its batch is "auto"


class GenerationProtocol(TypedDict):
    """Settings of generation, and what is stored of an image."""

    steps: int
    guidance: float  # scale of classifier-free guidance
    encoding: Literal["float", "png", "jpeg"]  # precision in which an image meets the feature network
    keep_images: int  # images stored for the sample sheets
    feature_network: FeatureNetworkSpec


class GenerateSpec(CellJobSpec):
    """`bigain generate`: one cell on one range of captions."""

    protocol: GenerationProtocol


class ScoreSpec(TypedDict):
    """`bigain score-classification` and `score-generation`: the metrics of one cell."""

    cell: CellSpec
    dataset: DatasetSpec
    images: int  # classified or generated
    network: Literal["fashion-net", "inception"] | None  # feature network; null in studies without generation
    chunks: list[str]  # digest of each job's spec
    inputs: dict[str, str]  # digests of the specs of the latents, conditions and calibration that the jobs read
    reference: str | None  # digest of the spec of the real images' features, of a generated cell
    code: CodeVersions


# -- measurements on a backbone ----------------------------------------------------------------------------------------


class EfficiencySpec(TypedDict):
    """`bigain efficiency`: FLOPs and seconds of a forward pass under every method and strength."""

    backbone: BackboneSpec
    arms: list[tuple[str, float | int | None, str | None]]  # method, strength, file of its calibration (lists in JSON)
    definitions: dict[str, MethodDefinition]
    batch: int  # rows of a timed forward pass
    rounds: int  # times that every arm takes its turn
    methods_from: NotRequired[list[str]]  # as in a cell's jobs
    threads: int
    code: CodeVersions


class ProbeSpec(TypedDict):
    """Keys shared by the probes of a model."""

    backbone: BackboneSpec
    dataset: DatasetSpec
    definitions: dict[str, MethodDefinition]
    methods_from: NotRequired[list[str]]  # as in a cell's jobs
    images: int  # how many are probed
    seed: int
    threads: int
    code: CodeVersions


class TokenMapsSpec(ProbeSpec):
    """`bigain probe-tokens`: saliency of tokens and masks of merged tokens (Figures 2 and 3)."""

    methods: list[str]
    ratio: float  # merge ratio
    timestep: int
    draws: int  # noises that the saliency averages over


class SpectrumSpec(ProbeSpec):
    """`bigain probe-spectrum`: class differences by frequency band (Theorem 1)."""

    arms: list[tuple[str, float | int | None]]  # method and strength, the uncompressed model first (lists in JSON)
    batch: int  # rows of a forward pass
    timesteps: int  # per image, on an even grid
    bands: int  # frequency bands of the latent grid


class MarginsSpec(SpectrumSpec):
    """`bigain probe-margins`: margins to the hardest wrong class by frequency band, with repeated noise."""

    noises: int  # per image and timestep


# -- collecting, reporting, fetching -----------------------------------------------------------------------------------


class CollectSpec(TypedDict):
    """`bigain collect`: the results of all cells."""

    config: str  # digest of the study's config
    cells: list[tuple[str, str]]  # folder of each cell, and the digest of the spec of its metrics (lists in JSON)
    code: CodeVersions


class TimestepsSpec(TypedDict):
    """`bigain score-timesteps`: accuracy at single timesteps of all cells of a backbone and data set."""

    backbone: str
    dataset: str
    cells: list[tuple[str, str]]  # folder of each cell, and the digest of the spec of its metrics (lists in JSON)
    code: CodeVersions


class DatasetProtocol(TypedDict):
    """Use of a data set by the study, for print; a task's keys exist if the study has the task."""

    reader: str
    images: NotRequired[int]  # classified per cell
    fewest_images: NotRequired[int]  # if some cells classify fewer
    classes: NotRequired[int]
    stages: NotRequired[list[int]]
    keep: NotRequired[list[int]]
    generated: NotRequired[int]  # images generated per cell
    fewest_generated: NotRequired[int]  # if some cells generate fewer


class Agreement(TypedDict):
    """How often elimination decides otherwise than the full evaluation on some images, and its cost."""

    images: int
    disagreements: int
    predictions: float  # noise predictions per image


class CertifiedCell(Agreement):
    """A cell that a certificate covers: its calibration images, and those that calibration did not use."""

    backbone: str
    dataset: str
    method: str
    strength: float | int | None
    seed: int
    run: str  # digest of the spec of its stored errors
    full_predictions: int  # noise predictions per image of the full evaluation
    others: Agreement


class EliminationCertificate(TypedDict):
    """What held-out images say about a z: with this confidence, no cell's rate of disagreement exceeds `rate`."""

    z: float
    every: int
    trials: int
    rate: float
    confidence: float
    cells: list[CertifiedCell]


class ReportSpec(TypedDict):
    """Facts about the study that tables, figures and the page print."""

    study: str  # its name
    of_paper: bool  # whether it runs the paper's models, so that printed values belong beside its results
    classification: dict[str, Any]  # that section of the config, defaults filled in
    generation: dict[str, Any]  # likewise
    datasets: dict[str, DatasetProtocol]
    backbones: dict[str, Literal["unet", "dit", "mmdit", "flux"]]  # family of each
    seeds: list[int]
    probed: bool  # whether there are Figures 2 and 3 and Theorem 1
    timesteps: NotRequired[bool]  # whether it says where in t the class is; absent in outcomes of before it did
    methods_from: NotRequired[list[str]]  # as in a cell's jobs
    certificate: NotRequired[EliminationCertificate]  # of `classification.elimination`, if the config names one
    results: str  # digest of the spec of the results that are shown
    files: dict[str, str]  # of every other result file that is shown: measurements, probes, generated images
    code: CodeVersions


class FetchSpec(TypedDict, total=False):
    """`bigain fetch`: what a backbone, data set or feature network is downloaded from and to."""

    family: Literal["unet", "dit", "mmdit", "flux"]  # of a backbone
    hub: str | None  # repository on the Hugging Face Hub, of a backbone
    revision: str | None  # of that repository; null: the newest
    path: str  # target folder
    reader: str  # of a data set
    weights: str  # target file, of a feature network
