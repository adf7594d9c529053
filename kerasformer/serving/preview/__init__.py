"""A preview of SavedModels with TensorFlow Serving's own REST and gRPC interfaces, for trying things on one's machine.

Production is TensorFlow Serving itself: this server has its answers, not its speed, its batching or its monitoring.
"""

__all__ = ["PreviewServer"]


def __getattr__(name):
    # TensorFlow takes seconds to import; the command line looks at folder and ports before.
    if name == "PreviewServer":
        from kerasformer.serving.preview.server import PreviewServer

        return PreviewServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
