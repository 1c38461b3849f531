"""The model-response dialect: Freddy by Aitronos, generation A of its model responses."""

from serve_app.dialects.model_response.dialect import MODEL_RESPONSE, ModelResponseDialect

__all__ = ["MODEL_RESPONSE", "ModelResponseDialect"]
