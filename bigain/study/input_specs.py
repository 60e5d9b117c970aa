"""Specs of what all methods share: encoded images and conditions, and the features of real images."""

from __future__ import annotations

from bigain.core.specs import DatasetSpec, EncodeConditionsSpec, EncodeImagesSpec, MeasureBatchSpec, ReferenceSpec
from bigain.study.fingerprints import READER_PARTS, code_of
from bigain.study.finished import with_all_encoded
from bigain.study.spec_parts import (
    backbone_part,
    dataset_part,
    model_code,
    network_part,
    photos_part,
    reference_part,
)
from bigain.study.workload import Workload

REFERENCE_BATCH = 50  # real images that go through the feature network together


def latents_spec(work: Workload, backbone: str, dataset: str) -> EncodeImagesSpec:
    """Return the spec of a data set's latents, of as many images as a cell of the backbone classifies.

    Finished latents may be of more images than the study needs.
    """
    part = photos_part(work.config, dataset)
    spec: EncodeImagesSpec = {
        "backbone": backbone_part(work.config, backbone, compressed=False),
        "dataset": part,
        "images": work.most_images("classification", backbone, dataset),
        "threads": work.config["threads"],
        "code": _encoding_code(work, backbone, part),
    }
    return with_all_encoded(spec, "images", f"{work.results}/inputs/{backbone}/{dataset}/latents.safetensors")


def conditions_spec(work: Workload, backbone: str, dataset: str) -> EncodeConditionsSpec:
    """Return the spec of the candidates' conditions, and of the captions' where images are generated from them.

    Finished conditions may have more captions than the study needs.
    """
    part = dataset_part(work.config, dataset)
    spec: EncodeConditionsSpec = {
        "backbone": backbone_part(work.config, backbone, compressed=False),
        "dataset": part,
        "captions": work.most_images("generation", backbone, dataset),
        "threads": work.config["threads"],
        "code": _encoding_code(work, backbone, part),
    }
    return with_all_encoded(spec, "captions", f"{work.results}/inputs/{backbone}/{dataset}/conditions.safetensors")


def batch_spec(work: Workload, backbone: str) -> MeasureBatchSpec:
    """Return the spec that measures a backbone's fastest batch (rows of a forward pass)."""
    return {
        "backbone": backbone_part(work.config, backbone, compressed=False),
        "threads": work.config["threads"],
        "code": code_of("jobs.batch", *model_code(work.config, backbone)),
    }


def batch_file(work: Workload, backbone: str) -> str:
    """Return the file with a backbone's fastest batch (rows of a forward pass)."""
    return f"{work.results}/inputs/{backbone}/batch.json"


def reference_spec(work: Workload, dataset: str) -> ReferenceSpec:
    """Return the spec of the real images' features: of the whole data set, whichever subset is classified."""
    part, real = reference_part(work.config, dataset), work.config["generation"]["real"]
    return {
        "dataset": part,
        "recipe": {"crop": real["crop"], "size": real["size"], "filter": real["filter"], "batch": REFERENCE_BATCH},
        "feature_network": network_part(work.config),
        "threads": work.config["threads"],
        "device": work.config["device"],
        "code": code_of("jobs.reference", READER_PARTS[part["reader"]]),
    }


def _encoding_code(work: Workload, backbone: str, dataset: DatasetSpec) -> dict[str, str]:
    return code_of("jobs.encode", *model_code(work.config, backbone), READER_PARTS[dataset["reader"]])
