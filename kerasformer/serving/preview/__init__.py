"""A preview of SavedModels with TensorFlow Serving's own REST and gRPC interfaces, for trying things on one's machine.

Production is TensorFlow Serving itself: this server has its answers, not its speed, its batching or its monitoring.
"""

from kerasformer.serving.preview.server import PreviewServer

__all__ = ["PreviewServer"]
