"""Ollama's inventory: what lies in the store and what is in memory, in its form."""

from server.api import ollama_types as wire
from server.api.abilities import capabilities
from server.api.core import Served
from server.api.ollama_types import TagDetails
from server.models.model import Model


def tag(model: Model) -> wire.Tag:
    """An item of /api/tags. A model that cannot be served is there with its reason."""
    return wire.Tag(
        name=model.name.display(),
        model=model.name.display(),
        modified_at=model.modified_text,
        size=model.size,
        digest=model.digest,
        details=TagDetails.of(model.details),
        capabilities=list(capabilities(model)),
        problem=model.problem or "",
    )


def running(served: Served) -> wire.Running:
    """An item of /api/ps."""
    model, entry = served.model, served.entry
    return wire.Running(
        name=model.name.display(),
        model=model.name.display(),
        size=entry.memory_bytes,
        digest=model.digest,
        details=TagDetails.of(model.details),
        expires_at=entry.expires_at.astimezone().isoformat(),
        size_vram=entry.vram_bytes,
        context_length=entry.info.context,
        num_running=entry.stats.num_running,
        num_waiting=entry.stats.num_waiting,
        parallel=entry.info.parallel,
        requantized=served.requantized,
    )


def shown(model: Model, body: wire.ShowRequest, requantized: str) -> wire.Shown:
    """The reply of /api/show; reads a projector, and the weights if `verbose`, so it blocks.

    `requantized` is the type that the weights are computed in, if it is not the file's.
    `system` in the request is shown as if it were the model's, as in Ollama.
    """
    if body.system:
        model = model.with_system(body.system)
    return wire.Shown(
        license=model.license_text,
        modelfile=model.modelfile_text,
        parameters=model.parameters_text,
        template=model.template_text,
        system=model.system or "",
        details=TagDetails.of(model.details),
        messages=[{"role": m.role, "content": m.content} for m in model.messages],
        model_info=dict(model.model_info(verbose=body.verbose)),
        projector_info=dict(model.projector_info(verbose=body.verbose)),
        tensors=model.tensors() if body.verbose else [],
        capabilities=list(capabilities(model)),
        modified_at=model.modified_text,
        requantized=requantized,
    )
