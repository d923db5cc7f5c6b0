"""The long tail of vendors, called through the package ``litellm``, which is loaded where such a provider is named."""

from backstay.providers.litellm_adaptor.provider import LiteLLMProvider

__all__ = ["LiteLLMProvider"]
