"""The hooks that carry an attachment into a forward pass: no attention is rewritten.

They are PyTorch's module hooks, which run no matter who replaces a module's `forward` before or after them (offloading,
caches), and are removed with their handle. The model's hook begins the pass, the map module's reads the grid. The
block's sees the tokens before norm1, and self-attention's reduces and restores around the untouched attention
(`merging`); to_k's and to_v's hand it fewer keys and values, whatever its processor (`reducing`). Where text takes part
in attention, hooks touch only the image's tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bigain.compression.attachment import Attachment
from bigain.compression.beside import others_on
from bigain.compression.sites import Site
from bigain.compression.token_attachment import TokenAttachment
from bigain.tokens import TokenGrid

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


def parameter_names(model: nn.Module) -> list[str]:
    """Return the names of the parameters of a model's forward pass, without `self`.

    They are those of the first class, from the model's to its bases, whose `forward` does not hide them in `*args`.
    """
    signatures = (inspect.signature(vars(kind)["forward"]) for kind in type(model).__mro__ if "forward" in vars(kind))
    parameters = next(
        signature.parameters
        for signature in signatures
        if all(parameter.kind is not parameter.VAR_POSITIONAL for parameter in signature.parameters.values())
    )
    return list(parameters)[1:]


def named_arguments(model: nn.Module, args: Args, kwargs: Kwargs) -> dict[str, Any]:
    """Return the arguments of a model's forward pass by name, in the order of its parameters.

    Raises ValueError if there are more positional arguments than parameters.
    """
    names = parameter_names(model)
    arguments = dict(zip(names[: len(args)], args, strict=True)) | kwargs
    return {name: arguments[name] for name in names if name in arguments} | arguments


class Hook:
    """Functions `before` and `after` a module's forward pass."""

    ends_failed = False  # `after` also runs after a forward pass that failed

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs] | None:
        """Return other arguments of the call, or None to leave them."""
        return None

    def after(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> Any:
        """Return another output, or None to leave it."""
        return None

    def put_on(self, module: nn.Module) -> list[RemovableHandle]:
        """Register the functions that the hook has, and return the handles that remove them."""
        handles = []
        if type(self).before is not Hook.before:
            handles.append(module.register_forward_pre_hook(self.before, with_kwargs=True))
        if type(self).after is not Hook.after:
            handles.append(module.register_forward_hook(self.after, with_kwargs=True, always_call=self.ends_failed))
        return handles


class TimestepHook(Hook):
    """On the model: calls `begin` with the timestep before every forward pass, and `end` after it, with whether the
    pass ran to its end."""

    ends_failed = True

    def __init__(
        self,
        begin: Callable[[Tensor | float | None], None],
        model: nn.Module,
        end: Callable[[bool], None] | None = None,
    ) -> None:
        self.begin, self.end = begin, end
        names = parameter_names(model)
        self.position = names.index("timestep") if "timestep" in names else len(names)  # the end: only by name

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Begin a forward pass."""
        positional = args[self.position] if len(args) > self.position else None
        self.begin(kwargs.get("timestep", positional))

    def after(self, module: nn.Module, args: Args, kwargs: Kwargs, output: Any) -> None:
        """End it."""
        if self.end is not None:
            self.end(output is not None)


def attachment_of(function: Callable[..., Any]) -> Attachment | None:
    """Return the attachment to which a function in a module's hooks belongs, if it belongs to one."""
    hook = getattr(function, "__self__", None)
    owner = (
        getattr(hook.begin, "__self__", None) if isinstance(hook, TimestepHook) else getattr(hook, "attachment", None)
    )
    return owner if isinstance(owner, Attachment) else None


class GridHook(Hook):
    """On the last module that sees the tokens as a map: reads height and width, exact for any rectangle."""

    def __init__(self, attachment: TokenAttachment, sites: list[Site]) -> None:
        self.attachment, self.sites = attachment, sites

    def before(self, module: nn.Module, args: Args, kwargs: Kwargs) -> None:
        """Record the grid in the pass, and in the sites for the report."""
        x, forward_pass = args[0] if args else kwargs["hidden_states"], self.attachment.forward_pass
        for site in self.sites:
            # Set without comparing it with the last grid, on which a compiled graph would then depend.
            site.grid = TokenGrid(x.shape[-2] // site.block.patch, x.shape[-1] // site.block.patch)
            forward_pass.grids[site.block.name] = site.grid


def check_tokens(attachment: TokenAttachment, site: Site, module: nn.Module, x: Tensor) -> None:
    """Raise ValueError unless x [B, N, C] holds the tokens of the block's grid in the forward pass that runs."""
    grid = attachment.forward_pass.grids.get(site.block.name)
    if grid is None:
        raise ValueError(f"{site.block.name} ran without {type(site.block.map_module).__name__}, which shows its grid")
    if x.shape[1] != grid.tokens:
        raise ValueError(
            f"{site.block.name}: {x.shape[1]} tokens reached {type(module).__name__}, not the {grid.tokens} of its "
            f"{grid} grid: something else changes their number; {others_on(site.block.module, module)}"
        )


def check_plain(module: nn.Module, args: Args, kwargs: Kwargs, name: str) -> None:
    """Raise ValueError if attention is called with a mask or, unless it is joint with the text's, with a context."""
    context = args[1] if len(args) > 1 else kwargs.get("encoder_hidden_states")
    mask = args[2] if len(args) > 2 else kwargs.get("attention_mask")
    is_joint = getattr(module, "added_kv_proj_dim", None) is not None
    if is_joint and mask is not None:
        raise ValueError(
            f"{name}: joint attention must run without a mask, which would be for the tokens before they are merged: "
            "leave attention_mask out"
        )
    if not is_joint and (context is not None or mask is not None):
        raise ValueError(f"{name}: attn1 must be plain self-attention, without context or mask")
