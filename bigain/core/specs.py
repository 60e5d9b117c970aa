"""Specs: the settings of each job as typed dictionaries, which travel as canonical JSON (`bigain.core.records`).

`bigain.study` builds them, `bigain.jobs` and `bigain.reporting` read them. A spec holds everything that the result of a
job depends on and nothing else, so equal specs mean equal results, and a change in the config re-runs exactly the jobs
whose specs it changes. Keys and values identify finished results on disk: renaming a key computes them again.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict, final

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


class FetchSpec(TypedDict, total=False):
    """`bigain fetch`: what a backbone, data set or feature network is downloaded from and to."""

    family: Literal["unet", "dit", "mmdit", "flux"]  # of a backbone
    hub: str | None  # repository on the Hugging Face Hub, of a backbone
    revision: str | None  # of that repository; null: the newest
    path: str  # target folder
    reader: str  # of a data set
    weights: str  # target file, of a feature network


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
