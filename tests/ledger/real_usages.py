"""Answers of real vendors, and what each costs, computed by hand: the table of test_real_usages.py.

A price is written in nano-USD a token, which is USD per million tokens times 1,000: ``1000 * 150`` are 1,000 tokens at
$0.15 per million. The shapes are those of the vendors' API references (read 2026-11); the prices those of genai-prices
0.2.3, which transcribes the vendors' price pages, on 2026-11-20 at 12:00 UTC. The list entry stands in each row.
"""

from typing import NamedTuple


class RealUsage(NamedTuple):
    """One row."""

    name: str
    dialect: str
    """Whose reader reads it; with ``+embeddings`` the reader of that dialect's embeddings."""
    target: str
    """Provider by genai-prices' id, and the provider's own name for the model."""
    listed: str
    """Where on the list of genai-prices 0.2.3 the price stands, with the tier if it has one of its own."""
    answer: str
    """What the vendor sends, without the words of the answer."""
    expected_nanousd: int
    tier: str | None = None
    """What is known of the tier beside the answer: a batch's answers do not say it everywhere."""


def chat(usage: str, rest: str = '"service_tier":"default"') -> str:
    """Put usage into the answer of a chat completion."""
    return (
        '{"id":"chatcmpl-1","object":"chat.completion","created":1763640000,"model":"m","choices":[{"index":0,'
        f'"message":{{"role":"assistant","content":"hi"}},"finish_reason":"stop"}}],"usage":{usage},{rest}}}'
    )


def response(usage: str, items: str = "", tier: str = "default") -> str:
    """Put usage into a response; ``items`` go before its message, each with a comma."""
    return (
        f'{{"id":"resp_1","object":"response","created_at":1763640000,"status":"completed","model":"m","output":[{items}'
        '{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text",'
        f'"text":"hi","annotations":[]}}]}}],"service_tier":"{tier}","usage":{usage}}}'
    )


def message(usage: str) -> str:
    """Put usage into Anthropic's message."""
    return (
        '{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hi"}],'
        f'"stop_reason":"end_turn","stop_sequence":null,"usage":{usage}}}'
    )


def gemini(usage: str) -> str:
    """Put usage into the answer of generateContent."""
    return (
        '{"candidates":[{"content":{"parts":[{"text":"hi"}],"role":"model"},"finishReason":"STOP","index":0}],'
        f'"usageMetadata":{usage},"modelVersion":"m","responseId":"r1"}}'
    )


def grounded(usage: str, model: str) -> str:
    """Put usage into an answer that went by Google's search."""
    return (
        '{"candidates":[{"content":{"parts":[{"text":"hi"}],"role":"model"},"finishReason":"STOP","index":0,'
        '"groundingMetadata":{"webSearchQueries":["a","b","a",""],"groundingChunks":[]}}],'
        f'"usageMetadata":{usage},"modelVersion":"{model}","responseId":"r1"}}'
    )


def converse(usage: str, tier: str = "default") -> str:
    """Put usage into the answer of Bedrock's Converse."""
    return (
        '{"metrics":{"latencyMs":1275},"output":{"message":{"content":[{"text":"hi"}],"role":"assistant"}},'
        f'"stopReason":"end_turn","serviceTier":{{"type":"{tier}"}},"usage":{usage}}}'
    )


def vectors(usage: str) -> str:
    """Put usage into an answer of the embeddings API."""
    return (
        f'{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":[0.1]}}],"model":"m","usage":{usage}}}'
    )


OPENAI = [
    RealUsage(
        "three counts",
        "openai", "openai/gpt-4o-mini", "openai/gpt-4o-mini",
        chat('{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29}'),
        19 * 150 + 10 * 600,
    ),
    RealUsage(
        "a dated name and all details, all zero",
        "openai", "openai/gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini",
        chat('{"prompt_tokens":1000,"completion_tokens":500,"total_tokens":1500,"prompt_tokens_details":'
             '{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
             '"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}'),
        1000 * 150 + 500 * 600,
    ),
    RealUsage(
        "cached input at half the price",
        "openai", "openai/gpt-4o", "openai/gpt-4o",
        chat('{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,"prompt_tokens_details":'
             '{"cached_tokens":1920,"audio_tokens":0}}'),
        86 * 2_500 + 1920 * 1_250 + 300 * 10_000,
    ),
    RealUsage(
        "cached input at a quarter",
        "openai", "openai/gpt-4.1", "openai/gpt-4.1",
        chat('{"prompt_tokens":1117,"completion_tokens":46,"total_tokens":1163,"prompt_tokens_details":'
             '{"cached_tokens":1024,"audio_tokens":0}}'),
        93 * 2_000 + 1024 * 500 + 46 * 8_000,
    ),
    RealUsage(
        "a mini model",
        "openai", "openai/gpt-4.1-mini-2025-04-14", "openai/gpt-4.1-mini",
        chat('{"prompt_tokens":2362,"completion_tokens":12,"total_tokens":2374,"prompt_tokens_details":'
             '{"cached_tokens":2048}}'),
        314 * 400 + 2048 * 100 + 12 * 1_600,
    ),
    RealUsage(
        "a nano model",
        "openai", "openai/gpt-4.1-nano", "openai/gpt-4.1-nano",
        chat('{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":5}}'),
        2 * 100 + 5 * 25 + 3 * 400,
    ),
    RealUsage(
        "reasoning is part of the completion",
        "openai", "openai/o3", "openai/o3",
        chat('{"prompt_tokens":75,"completion_tokens":1186,"total_tokens":1261,"completion_tokens_details":'
             '{"reasoning_tokens":1024,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}'),
        75 * 2_000 + 1186 * 8_000,
    ),
    RealUsage(
        "reasoning and a cache",
        "openai", "openai/o4-mini", "openai/o4-mini",
        chat('{"prompt_tokens":1300,"completion_tokens":640,"total_tokens":1940,"prompt_tokens_details":'
             '{"cached_tokens":1152},"completion_tokens_details":{"reasoning_tokens":512}}'),
        148 * 1_100 + 1152 * 275 + 640 * 4_400,
    ),
    RealUsage(
        "a cache at a tenth",
        "openai", "openai/gpt-5", "openai/gpt-5",
        chat('{"prompt_tokens":4096,"completion_tokens":2000,"total_tokens":6096,"prompt_tokens_details":'
             '{"cached_tokens":3072},"completion_tokens_details":{"reasoning_tokens":1900}}'),
        1024 * 1_250 + 3072 * 125 + 2000 * 10_000,
    ),
    RealUsage(
        "five nano-dollars a cached token",
        "openai", "openai/gpt-5-nano", "openai/gpt-5-nano",
        chat('{"prompt_tokens":1025,"completion_tokens":1,"total_tokens":1026,"prompt_tokens_details":'
             '{"cached_tokens":1024}}'),
        1 * 50 + 1024 * 5 + 1 * 400,
    ),
    RealUsage(
        "the dearest model of 2024",
        "openai", "openai/o1-2024-12-17", "openai/o1",
        chat('{"prompt_tokens":2000,"completion_tokens":3000,"total_tokens":5000,"prompt_tokens_details":'
             '{"cached_tokens":1024},"completion_tokens_details":{"reasoning_tokens":2560}}'),
        976 * 15_000 + 1024 * 7_500 + 3000 * 60_000,
    ),
    RealUsage(
        "flex",
        "openai", "openai/gpt-5", "openai/gpt-5 flex",
        chat('{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110}', '"service_tier":"flex"'),
        100 * 625 + 10 * 5_000,
    ),
    RealUsage(
        "priority, with a cache",
        "openai", "openai/gpt-5", "openai/gpt-5 priority",
        chat('{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110,"prompt_tokens_details":'
             '{"cached_tokens":40}}', '"service_tier":"priority"'),
        60 * 2_500 + 40 * 250 + 10 * 20_000,
    ),
    RealUsage(
        "priority of a small model",
        "openai", "openai/gpt-4o-mini", "openai/gpt-4o-mini priority",
        chat('{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110}', '"service_tier":"priority"'),
        100 * 250 + 10 * 1_000,
    ),
    RealUsage(
        "a batch",
        "openai", "openai/gpt-4o", "openai/gpt-4o batch",
        chat('{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}', '"system_fingerprint":null'),
        1000 * 1_250 + 100 * 5_000,
        tier="batch",
    ),
    RealUsage(
        "the last token of the short context",
        "openai", "openai/gpt-5.4", "openai/gpt-5.4",
        chat('{"prompt_tokens":272000,"completion_tokens":100,"total_tokens":272100}'),
        272_000 * 2_500 + 100 * 15_000,
    ),
    RealUsage(
        "the first token of the long context, which all tokens pay for",
        "openai", "openai/gpt-5.4", "openai/gpt-5.4",
        chat('{"prompt_tokens":272001,"completion_tokens":100,"total_tokens":272101}'),
        272_001 * 5_000 + 100 * 22_500,
    ),
    RealUsage(
        "long context in flex, with a cache",
        "openai", "openai/gpt-5.4", "openai/gpt-5.4 flex",
        chat('{"prompt_tokens":300000,"completion_tokens":100,"total_tokens":300100,"prompt_tokens_details":'
             '{"cached_tokens":256000}}', '"service_tier":"flex"'),
        44_000 * 2_500 + 256_000 * 250 + 100 * 11_250,
    ),
    RealUsage(
        "tokens written to the cache",
        "openai", "openai/gpt-6-sol", "openai/gpt-6-sol",
        chat('{"prompt_tokens":5000,"completion_tokens":100,"total_tokens":5100,"prompt_tokens_details":'
             '{"cached_tokens":1000,"cache_write_tokens":3000}}'),
        1000 * 2_000 + 1000 * 200 + 3000 * 2_500 + 100 * 10_000,
    ),
    RealUsage(
        "sound in and out",
        "openai", "openai/gpt-audio", "openai/gpt-audio",
        chat('{"prompt_tokens":120,"completion_tokens":200,"total_tokens":320,"prompt_tokens_details":'
             '{"audio_tokens":100,"text_tokens":20,"image_tokens":0,"cached_tokens":0},"completion_tokens_details":'
             '{"audio_tokens":150,"text_tokens":50,"reasoning_tokens":0}}'),
        20 * 2_500 + 100 * 32_000 + 50 * 10_000 + 150 * 64_000,
    ),
    RealUsage(
        "rejected predictions are billed as output",
        "openai", "openai/gpt-4o", "openai/gpt-4o",
        chat('{"prompt_tokens":50,"completion_tokens":80,"total_tokens":130,"completion_tokens_details":'
             '{"accepted_prediction_tokens":30,"rejected_prediction_tokens":20}}'),
        50 * 2_500 + 80 * 10_000,
    ),
    RealUsage(
        "a cache that makes nothing cheaper",
        "openai", "openai/gpt-4-turbo", "openai/gpt-4-turbo",
        chat('{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110,"prompt_tokens_details":'
             '{"cached_tokens":50}}', '"service_tier":null'),
        100 * 10_000 + 10 * 30_000,
    ),
    RealUsage(
        "an old model",
        "openai", "openai/gpt-3.5-turbo-0125", "openai/gpt-3.5-turbo",
        chat('{"prompt_tokens":33,"completion_tokens":7,"total_tokens":40}'),
        33 * 500 + 7 * 1_500,
    ),
    RealUsage(
        "sound, of which part was cached",
        "openai", "openai/gpt-realtime", "openai/gpt-realtime",
        chat('{"prompt_tokens":300,"completion_tokens":60,"total_tokens":360,"prompt_tokens_details":'
             '{"audio_tokens":200,"text_tokens":80,"image_tokens":20,"cached_tokens":128,"cached_tokens_details":'
             '{"text_tokens":64,"audio_tokens":64,"image_tokens":0}},"completion_tokens_details":'
             '{"audio_tokens":50,"text_tokens":10}}'),
        (80 - 64) * 4_000 + 64 * 400 + (200 - 64) * 32_000 + 64 * 400 + 20 * 5_000 + 10 * 16_000 + 50 * 64_000,
    ),
    RealUsage(
        "more cached than there was input, as some servers say",
        "openai", "openai/gpt-4o", "openai/gpt-4o",
        chat('{"prompt_tokens":100,"completion_tokens":10,"total_tokens":110,"prompt_tokens_details":'
             '{"cached_tokens":128}}'),
        128 * 1_250 + 10 * 10_000,
    ),
    RealUsage(
        "embeddings",
        "openai+embeddings", "openai/text-embedding-3-small", "openai/text-embedding-3-small",
        vectors('{"prompt_tokens":8,"total_tokens":8}'),
        8 * 20,
    ),
    RealUsage(
        "large embeddings",
        "openai+embeddings", "openai/text-embedding-3-large", "openai/text-embedding-3-large",
        vectors('{"prompt_tokens":8191,"total_tokens":8191}'),
        8191 * 130,
    ),
]  # fmt: skip

_SEARCH = '{"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"a"}},'
_OPEN = '{"type":"web_search_call","id":"ws_2","status":"completed","action":{"type":"open_page","url":"https://x"}},'
_FILES = '{"type":"file_search_call","id":"fs_1","status":"completed","queries":["a"],"results":null},'

RESPONSES = [
    RealUsage(
        "a response",
        "responses", "openai/gpt-4.1", "openai/gpt-4.1",
        response('{"input_tokens":36,"input_tokens_details":{"cached_tokens":0},"output_tokens":87,'
                 '"output_tokens_details":{"reasoning_tokens":0},"total_tokens":123}'),
        36 * 2_000 + 87 * 8_000,
    ),
    RealUsage(
        "a response with a cache and reasoning",
        "responses", "openai/gpt-5-mini", "openai/gpt-5-mini",
        response('{"input_tokens":1500,"input_tokens_details":{"cached_tokens":1408},"output_tokens":900,'
                 '"output_tokens_details":{"reasoning_tokens":832},"total_tokens":2400}'),
        92 * 250 + 1408 * 25 + 900 * 2_000,
    ),
    RealUsage(
        "two searches, and a page that was opened for nothing",
        "responses", "openai/gpt-4o", "openai/gpt-4o",
        response('{"input_tokens":300,"input_tokens_details":{"cached_tokens":0},"output_tokens":200,'
                 '"output_tokens_details":{"reasoning_tokens":0},"total_tokens":500}', _SEARCH + _OPEN + _SEARCH),
        300 * 2_500 + 200 * 10_000 + 2 * 10_000_000,
    ),
    RealUsage(
        "a search of files, and one of the web",
        "responses", "openai/gpt-4.1", "openai/gpt-4.1",
        response('{"input_tokens":18307,"input_tokens_details":{"cached_tokens":0},"output_tokens":200,'
                 '"output_tokens_details":{"reasoning_tokens":0},"total_tokens":18507}', _FILES + _SEARCH),
        18_307 * 2_000 + 200 * 8_000 + 2_500_000 + 10_000_000,
    ),
    RealUsage(
        "a response in flex",
        "responses", "openai/o3", "openai/o3 flex",
        response('{"input_tokens":1000,"input_tokens_details":{"cached_tokens":512},"output_tokens":100,'
                 '"output_tokens_details":{"reasoning_tokens":64},"total_tokens":1100}', tier="flex"),
        488 * 1_000 + 512 * 250 + 100 * 4_000,
    ),
    RealUsage(
        "a response in priority",
        "responses", "openai/gpt-5.4", "openai/gpt-5.4 priority",
        response('{"input_tokens":1000,"input_tokens_details":{"cached_tokens":0},"output_tokens":100,'
                 '"output_tokens_details":{"reasoning_tokens":0},"total_tokens":1100}', tier="priority"),
        1000 * 5_000 + 100 * 30_000,
    ),
    RealUsage(
        "a response whose input is written to the cache",
        "responses", "openai/gpt-6-luna", "openai/gpt-6-luna",
        response('{"input_tokens":4000,"input_tokens_details":{"cached_tokens":1000,"cache_write_tokens":2000},'
                 '"output_tokens":10,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":4010}'),
        1000 * 100 + 1000 * 10 + 2000 * 125 + 10 * 500,
    ),
]  # fmt: skip

ANTHROPIC = [
    RealUsage(
        "two counts",
        "anthropic", "anthropic/claude-sonnet-4-20250514", "anthropic/claude-sonnet-4-0",
        message('{"input_tokens":10,"output_tokens":25}'),
        10 * 3_000 + 25 * 15_000,
    ),
    RealUsage(
        "all fields",
        "anthropic", "anthropic/claude-opus-4-1-20250805", "anthropic/claude-opus-4-1",
        message('{"input_tokens":2095,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":'
                '{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":503,'
                '"service_tier":"standard","inference_geo":"global","server_tool_use":null}'),
        2095 * 15_000 + 503 * 75_000,
    ),
    RealUsage(
        "a cache written for five minutes",
        "anthropic", "anthropic/claude-sonnet-4-20250514", "anthropic/claude-sonnet-4-0",
        message('{"input_tokens":21,"cache_creation_input_tokens":188086,"cache_read_input_tokens":0,'
                '"output_tokens":393}'),
        21 * 3_000 + 188_086 * 3_750 + 393 * 15_000,
    ),
    RealUsage(
        "a cache read",
        "anthropic", "anthropic/claude-sonnet-4-20250514", "anthropic/claude-sonnet-4-0",
        message('{"input_tokens":21,"cache_creation_input_tokens":0,"cache_read_input_tokens":188086,'
                '"output_tokens":393}'),
        21 * 3_000 + 188_086 * 300 + 393 * 15_000,
    ),
    RealUsage(
        "caches for five minutes and for an hour",
        "anthropic", "anthropic/claude-haiku-4-5-20251001", "anthropic/claude-haiku-4-5",
        message('{"input_tokens":2048,"cache_read_input_tokens":1800,"cache_creation_input_tokens":248,'
                '"output_tokens":503,"cache_creation":{"ephemeral_5m_input_tokens":148,'
                '"ephemeral_1h_input_tokens":100}}'),
        2048 * 1_000 + 1800 * 100 + 148 * 1_250 + 100 * 2_000 + 503 * 5_000,
    ),
    RealUsage(
        "a batch",
        "anthropic", "anthropic/claude-opus-4-5", "anthropic/claude-opus-4-5 batch",
        message('{"input_tokens":1000,"output_tokens":100,"service_tier":"batch"}'),
        1000 * 2_500 + 100 * 12_500,
    ),
    RealUsage(
        "a batch with caches",
        "anthropic", "anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5 batch",
        message('{"input_tokens":100,"cache_creation_input_tokens":1000,"cache_read_input_tokens":2000,'
                '"cache_creation":{"ephemeral_5m_input_tokens":1000,"ephemeral_1h_input_tokens":0},'
                '"output_tokens":50,"service_tier":"batch"}'),
        100 * 1_500 + 1000 * 1_875 + 2000 * 150 + 50 * 7_500,
    ),
    RealUsage(
        "the last token of the short context",
        "anthropic", "anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5",
        message('{"input_tokens":200000,"output_tokens":10}'),
        200_000 * 3_000 + 10 * 15_000,
    ),
    RealUsage(
        "long context, of which most was cached",
        "anthropic", "anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5",
        message('{"input_tokens":1,"cache_creation_input_tokens":0,"cache_read_input_tokens":200000,'
                '"output_tokens":10}'),
        1 * 6_000 + 200_000 * 600 + 10 * 22_500,
    ),
    RealUsage(
        "a web search",
        "anthropic", "anthropic/claude-opus-4-1", "anthropic/claude-opus-4-1",
        message('{"input_tokens":6039,"output_tokens":931,"server_tool_use":{"web_search_requests":1,'
                '"web_fetch_requests":3}}'),
        6039 * 15_000 + 931 * 75_000 + 1 * 10_000_000,
    ),
    RealUsage(
        "thinking is part of the output",
        "anthropic", "anthropic/claude-opus-4-7", "anthropic/claude-opus-4-7",
        message('{"input_tokens":2500,"output_tokens":1000,"output_tokens_details":{"thinking_tokens":800}}'),
        2500 * 5_000 + 1000 * 25_000,
    ),
    RealUsage(
        "the fast mode, of which the tier says nothing",
        "anthropic", "anthropic/claude-opus-5", "anthropic/claude-opus-5 fast",
        message('{"input_tokens":1000,"output_tokens":100,"service_tier":"standard","speed":"fast"}'),
        1000 * 10_000 + 100 * 50_000,
    ),
    RealUsage(
        "the priority tier, paid for beforehand",
        "anthropic", "anthropic/claude-opus-5", "anthropic/claude-opus-5",
        message('{"input_tokens":1000,"output_tokens":100,"service_tier":"priority","speed":"standard"}'),
        1000 * 5_000 + 100 * 25_000,
    ),
    RealUsage(
        "the first Haiku",
        "anthropic", "anthropic/claude-3-haiku-20240307", "anthropic/claude-3-haiku",
        message('{"input_tokens":1000,"cache_creation_input_tokens":0,"cache_read_input_tokens":1000,'
                '"output_tokens":100}'),
        1000 * 250 + 1000 * 30 + 100 * 1_250,
    ),
    RealUsage(
        "a tier by the context that begins elsewhere",
        "anthropic", "anthropic/claude-haiku-5-5", "anthropic/claude-haiku-5-5",
        message('{"input_tokens":100001,"output_tokens":10}'),
        100_001 * 500 + 10 * 2_500,
    ),
    RealUsage(
        "what compacting the context took, beside the totals",
        "anthropic", "anthropic/claude-opus-4-6", "anthropic/claude-opus-4-6",
        message('{"input_tokens":23000,"output_tokens":1000,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,'
                '"iterations":[{"type":"compaction","input_tokens":180000,"output_tokens":3500},'
                '{"type":"message","input_tokens":23000,"output_tokens":1000}]}'),
        (23_000 + 180_000) * 5_000 + (1_000 + 3_500) * 25_000,
    ),
    RealUsage(
        "inference in the US alone: a tenth more for each token, and nothing for a search",
        "anthropic", "anthropic/claude-opus-4-7", "anthropic/claude-opus-4-7",
        message('{"input_tokens":101,"output_tokens":33,"cache_read_input_tokens":1000,"cache_creation_input_tokens":7,'
                '"server_tool_use":{"web_search_requests":1},"service_tier":"standard","inference_geo":"us"}'),
        (101 * 5_000 + 33 * 25_000 + 1000 * 500 + 7 * 6_250) * 11 // 10 + 10_000_000,
    ),
    RealUsage(
        "a dear model's cache for an hour",
        "anthropic", "anthropic/claude-fable-5", "anthropic/claude-fable-5",
        message('{"input_tokens":5,"cache_creation_input_tokens":5000,"cache_read_input_tokens":0,"cache_creation":'
                '{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":5000},"output_tokens":20}'),
        5 * 10_000 + 5000 * 20_000 + 20 * 50_000,
    ),
]  # fmt: skip

GEMINI = [
    RealUsage(
        "three counts",
        "gemini", "google/gemini-2.0-flash", "google/gemini-2.0-flash",
        gemini('{"promptTokenCount":4,"candidatesTokenCount":12,"totalTokenCount":16,"promptTokensDetails":'
               '[{"modality":"TEXT","tokenCount":4}],"candidatesTokensDetails":[{"modality":"TEXT","tokenCount":12}]}'),
        4 * 100 + 12 * 400,
    ),
    RealUsage(
        "thoughts are counted beside the candidates",
        "gemini", "google/gemini-2.5-flash", "google/gemini-2.5-flash",
        gemini('{"promptTokenCount":9,"candidatesTokenCount":12,"thoughtsTokenCount":30,"totalTokenCount":51}'),
        9 * 300 + (12 + 30) * 2_500,
    ),
    RealUsage(
        "an implicit cache",
        "gemini", "google/gemini-2.5-flash-lite", "google/gemini-2.5-flash-lite",
        gemini('{"promptTokenCount":3000,"cachedContentTokenCount":2048,"candidatesTokenCount":100,'
               '"totalTokenCount":3100,"cacheTokensDetails":[{"modality":"TEXT","tokenCount":2048}]}'),
        952 * 100 + 2048 * 10 + 100 * 400,
    ),
    RealUsage(
        "long context with a cache",
        "gemini", "google/gemini-2.5-pro", "google/gemini-2.5-pro",
        gemini('{"promptTokenCount":250000,"cachedContentTokenCount":200000,"candidatesTokenCount":60,'
               '"thoughtsTokenCount":40,"totalTokenCount":250100}'),
        50_000 * 2_500 + 200_000 * 250 + 100 * 15_000,
    ),
    RealUsage(
        "the last token of the short context",
        "gemini", "google/gemini-3.1-pro-preview", "google/gemini-3.1-pro-preview",
        gemini('{"promptTokenCount":200000,"candidatesTokenCount":10,"totalTokenCount":200010}'),
        200_000 * 2_000 + 10 * 12_000,
    ),
    RealUsage(
        "sound in",
        "gemini", "google/gemini-2.5-flash", "google/gemini-2.5-flash",
        gemini('{"promptTokenCount":1000,"candidatesTokenCount":50,"totalTokenCount":1050,"promptTokensDetails":'
               '[{"modality":"TEXT","tokenCount":360},{"modality":"AUDIO","tokenCount":640}]}'),
        360 * 300 + 640 * 1_000 + 50 * 2_500,
    ),
    RealUsage(
        "sound, of which part was cached",
        "gemini", "google/gemini-3-flash-preview", "google/gemini-3-flash-preview",
        gemini('{"promptTokenCount":2000,"cachedContentTokenCount":1500,"candidatesTokenCount":50,'
               '"totalTokenCount":2050,"promptTokensDetails":[{"modality":"TEXT","tokenCount":400},'
               '{"modality":"AUDIO","tokenCount":1600}],"cacheTokensDetails":[{"modality":"TEXT","tokenCount":300},'
               '{"modality":"AUDIO","tokenCount":1200}]}'),
        100 * 500 + 300 * 50 + 400 * 1_000 + 1200 * 100 + 50 * 3_000,
    ),
    RealUsage(
        "what tools brought in is counted beside the prompt",
        "gemini", "google/gemini-2.5-flash", "google/gemini-2.5-flash",
        gemini('{"promptTokenCount":10,"toolUsePromptTokenCount":500,"candidatesTokenCount":20,'
               '"totalTokenCount":530}'),
        510 * 300 + 20 * 2_500,
    ),
    RealUsage(
        "images cost what text costs",
        "gemini", "google/gemini-2.5-flash", "google/gemini-2.5-flash",
        gemini('{"promptTokenCount":1296,"candidatesTokenCount":5,"totalTokenCount":1301,"promptTokensDetails":'
               '[{"modality":"TEXT","tokenCount":6},{"modality":"IMAGE","tokenCount":1290}],"trafficType":"ON_DEMAND"}'),
        1296 * 300 + 5 * 2_500,
    ),
    RealUsage(
        "a picture costs more than text",
        "gemini", "google/gemini-2.5-flash-image", "google/gemini-2.5-flash-image",
        gemini('{"promptTokenCount":12,"candidatesTokenCount":1304,"totalTokenCount":1316,"candidatesTokensDetails":'
               '[{"modality":"TEXT","tokenCount":14},{"modality":"IMAGE","tokenCount":1290}]}'),
        12 * 300 + 14 * 2_500 + 1290 * 30_000,
    ),
    RealUsage(
        "an answer grounded in three queries, two of them the same, and an empty one",
        "gemini", "google/gemini-3.8-flash", "google/gemini-3.8-flash",
        grounded('{"promptTokenCount":20,"candidatesTokenCount":50,"totalTokenCount":70}', "gemini-3.8-flash"),
        20 * 750 + 50 * 3_750 + 2 * 14_000_000,
    ),
    RealUsage(
        "before Gemini 3 the prompt is billed once, however many queries it took",
        "gemini", "google/gemini-2.5-pro", "google/gemini-2.5-pro",
        grounded('{"promptTokenCount":20,"candidatesTokenCount":50,"totalTokenCount":70}', "gemini-2.5-pro"),
        20 * 1_250 + 50 * 10_000 + 35_000_000,
    ),
    RealUsage(
        "a prompt that was blocked is paid for, and no answer",
        "gemini", "google/gemini-2.5-flash", "google/gemini-2.5-flash",
        '{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":8,'
        '"totalTokenCount":8},"modelVersion":"m"}',
        8 * 300,
    ),
]  # fmt: skip

BEDROCK = [
    RealUsage(
        "three counts",
        "bedrock", "aws/amazon.nova-lite-v1:0", "aws/amazon.nova-lite-v1:0",
        converse('{"inputTokens":30,"outputTokens":628,"totalTokens":658,"cacheReadInputTokens":0,'
                 '"cacheWriteInputTokens":0,"serverToolUsage":{}}'),
        30 * 60 + 628 * 240,
    ),
    RealUsage(
        "cached input is counted beside the rest",
        "bedrock", "aws/amazon.nova-micro-v1:0", "aws/amazon.nova-micro-v1:0",
        converse('{"inputTokens":100,"outputTokens":10,"totalTokens":510,"cacheReadInputTokens":400,'
                 '"cacheWriteInputTokens":0}'),
        100 * 35 + 400 * 875 // 100 + 10 * 140,
    ),
    RealUsage(
        "a geography's profile of Claude, caches read and written",
        "bedrock", "aws/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0",
        converse('{"inputTokens":10,"outputTokens":50,"totalTokens":2560,"cacheReadInputTokens":2000,'
                 '"cacheWriteInputTokens":500}'),
        10 * 3_300 + 2000 * 330 + 500 * 4_125 + 50 * 16_500,
    ),
    RealUsage(
        "the global profile, and a cache for an hour",
        "bedrock", "aws/global.anthropic.claude-haiku-4-5-20251001-v1:0",
        "aws/global.anthropic.claude-haiku-4-5-20251001-v1:0",
        converse('{"inputTokens":10,"outputTokens":50,"totalTokens":1560,"cacheReadInputTokens":0,'
                 '"cacheWriteInputTokens":1500,"cacheDetails":[{"inputTokens":1000,"ttl":"1h"},'
                 '{"inputTokens":500,"ttl":"5m"}]}'),
        10 * 1_000 + 500 * 1_250 + 1000 * 2_000 + 50 * 5_000,
    ),
    RealUsage(
        "cached input within the input, as the total says",
        "bedrock", "aws/amazon.nova-micro-v1:0", "aws/amazon.nova-micro-v1:0",
        converse('{"inputTokens":500,"outputTokens":10,"totalTokens":510,"cacheReadInputTokens":400,'
                 '"cacheWriteInputTokens":0}'),
        100 * 35 + 400 * 875 // 100 + 10 * 140,
    ),
    RealUsage(
        "an open model",
        "bedrock", "aws/meta.llama3-3-70b-instruct-v1:0", "aws/meta.llama3-3-70b-instruct-v1:0",
        converse('{"inputTokens":500,"outputTokens":120,"totalTokens":620}'),
        620 * 720,
    ),
]  # fmt: skip

COMPATIBLE = [
    RealUsage(
        "DeepSeek: hits and misses of the cache",
        "openai", "deepseek/deepseek-v4-flash", "deepseek/deepseek-v4-flash",
        chat('{"prompt_tokens":1000,"completion_tokens":200,"total_tokens":1200,"prompt_tokens_details":'
             '{"cached_tokens":640},"prompt_cache_hit_tokens":640,"prompt_cache_miss_tokens":360}',
             '"system_fingerprint":"fp_1"'),
        360 * 150 + 640 * 3 + 200 * 600,
    ),
    RealUsage(
        "DeepSeek: hits and misses alone, and reasoning",
        "openai", "deepseek/deepseek-v4-pro", "deepseek/deepseek-v4-pro",
        chat('{"prompt_tokens":100,"completion_tokens":300,"total_tokens":400,"completion_tokens_details":'
             '{"reasoning_tokens":250},"prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":36}',
             '"system_fingerprint":"fp_1"'),
        36 * 660 + 64 * 22 + 300 * 1_980,
    ),
    RealUsage(
        "Groq: times between the counts",
        "openai", "groq/llama-3.3-70b-versatile", "groq/llama-3.3-70b-versatile",
        chat('{"queue_time":0.037493756,"prompt_tokens":18,"prompt_time":0.000680594,"completion_tokens":556,'
             '"completion_time":0.463333333,"total_tokens":574,"total_time":0.464013927}',
             '"x_groq":{"id":"req_1"},"service_tier":"on_demand"'),
        18 * 590 + 556 * 790,
    ),
    RealUsage(
        "Groq: a cache and reasoning",
        "openai", "groq/openai/gpt-oss-120b", "groq/openai/gpt-oss-120b",
        chat('{"queue_time":0.05,"prompt_tokens":1500,"prompt_time":0.07,"completion_tokens":90,"completion_time":0.2,'
             '"total_tokens":1590,"total_time":0.27,"prompt_tokens_details":{"cached_tokens":1024},'
             '"completion_tokens_details":{"reasoning_tokens":60}}', '"service_tier":"on_demand"'),
        476 * 150 + 1024 * 75 + 90 * 600,
    ),
    RealUsage(
        "Mistral",
        "openai", "mistral/mistral-large-2512", "mistral/mistral-large-2512",
        chat('{"prompt_tokens":16,"total_tokens":34,"completion_tokens":18}', '"object":"chat.completion"'),
        16 * 500 + 18 * 1_500,
    ),
    RealUsage(
        "Mistral: a cache",
        "openai", "mistral/mistral-small-2603", "mistral/mistral-small-2603",
        chat('{"prompt_tokens":1040,"total_tokens":1060,"completion_tokens":20,"prompt_tokens_details":'
             '{"cached_tokens":1000}}', '"object":"chat.completion"'),
        40 * 150 + 1000 * 15 + 20 * 600,
    ),
    RealUsage(
        "Mistral: embeddings say 0 completion tokens",
        "openai+embeddings", "mistral/mistral-embed", "mistral/mistral-embed",
        vectors('{"prompt_tokens":15,"total_tokens":15,"completion_tokens":0}'),
        15 * 100,
    ),
    RealUsage(
        "xAI: reasoning beside the completion, as the total says",
        "openai", "x-ai/grok-4-0709", "x-ai/grok-4-0709",
        chat('{"prompt_tokens":37,"completion_tokens":530,"total_tokens":800,"prompt_tokens_details":'
             '{"text_tokens":37,"audio_tokens":0,"image_tokens":0,"cached_tokens":8},"completion_tokens_details":'
             '{"reasoning_tokens":233,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0},'
             '"num_sources_used":0}', '"system_fingerprint":"fp_1"'),
        29 * 3_000 + 8 * 750 + (530 + 233) * 15_000,
    ),
    RealUsage(
        "xAI: long context",
        "openai", "x-ai/grok-4.5", "x-ai/grok-4.5",
        chat('{"prompt_tokens":200000,"completion_tokens":10,"total_tokens":200010,"prompt_tokens_details":'
             '{"text_tokens":200000,"cached_tokens":150000}}', '"system_fingerprint":"fp_1"'),
        50_000 * 4_000 + 150_000 * 600 + 10 * 12_000,
    ),
    RealUsage(
        "OpenRouter: with the cost that it charges itself",
        "openai", "openrouter/openai/gpt-4o-mini", "openrouter/openai/gpt-4o-mini",
        chat('{"prompt_tokens":194,"completion_tokens":2,"total_tokens":196,"cost":0.0000303,"is_byok":false,'
             '"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"cost_details":'
             '{"upstream_inference_cost":null},"completion_tokens_details":{"reasoning_tokens":0}}',
             '"provider":"OpenAI"'),
        194 * 150 + 2 * 600,
    ),
    RealUsage(
        "OpenRouter: a cache of Claude's, written and read",
        "openai", "openrouter/anthropic/claude-sonnet-4.5", "openrouter/anthropic/claude-sonnet-4.5",
        chat('{"prompt_tokens":3000,"completion_tokens":50,"total_tokens":3050,"cost":0.0053,'
             '"prompt_tokens_details":{"cached_tokens":1000,"cache_write_tokens":500}}', '"provider":"Anthropic"'),
        1500 * 3_000 + 1000 * 300 + 500 * 3_750 + 50 * 15_000,
    ),
    RealUsage(
        "Perplexity: so much for a request",
        "openai", "perplexity/sonar", "perplexity/sonar",
        chat('{"prompt_tokens":8,"completion_tokens":439,"total_tokens":447,"search_context_size":"low","cost":'
             '{"input_tokens_cost":0.000008,"output_tokens_cost":0.000439,"request_cost":0.005}}',
             '"citations":[],"search_results":[]'),
        8 * 1_000 + 439 * 1_000 + 12_000_000,
    ),
    RealUsage(
        "Perplexity: deep research, of which each part is billed by itself",
        "openai", "perplexity/sonar-deep-research", "perplexity/sonar-deep-research",
        chat('{"prompt_tokens":33,"completion_tokens":11395,"total_tokens":11428,"citation_tokens":20016,'
             '"num_search_queries":21,"reasoning_tokens":95305}', '"citations":[]'),
        33 * 2_000 + 11_395 * 8_000 + 20_016 * 2_000 + 95_305 * 3_000 + 21 * 5_000_000,
    ),
    RealUsage(
        "LiteLLM's words for a cache of Claude's",
        "openai", "anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5",
        chat('{"prompt_tokens":3000,"completion_tokens":50,"total_tokens":3050,"cache_creation_input_tokens":500,'
             '"cache_read_input_tokens":1000,"prompt_tokens_details":{"cached_tokens":1000,"cache_creation_tokens":500,'
             '"cache_creation_token_details":{"ephemeral_5m_input_tokens":300,"ephemeral_1h_input_tokens":200}},'
             '"server_tool_use":{"web_search_requests":2}}', '"system_fingerprint":null'),
        1500 * 3_000 + 1000 * 300 + 300 * 3_750 + 200 * 6_000 + 50 * 15_000 + 2 * 10_000_000,
    ),
    RealUsage(
        "Together",
        "openai", "together/meta-llama/Llama-3.3-70B-Instruct-Turbo",
        "together/meta-llama/Llama-3.3-70B-Instruct-Turbo",
        chat('{"prompt_tokens":42,"completion_tokens":16,"total_tokens":58,"cached_tokens":0}', '"prompt":[]'),
        58 * 880,
    ),
    RealUsage(
        "Fireworks: a path for a name",
        "openai", "fireworks/accounts/fireworks/models/gpt-oss-120b", "fireworks/gpt-oss-120b",
        chat('{"prompt_tokens":500,"total_tokens":520,"completion_tokens":20,"prompt_tokens_details":'
             '{"cached_tokens":400}}', '"object":"chat.completion"'),
        100 * 150 + 400 * 15 + 20 * 600,
    ),
    RealUsage(
        "Cerebras",
        "openai", "cerebras/gpt-oss-120b", "cerebras/gpt-oss-120b",
        chat('{"prompt_tokens":80,"completion_tokens":40,"total_tokens":120,"prompt_tokens_details":'
             '{"cached_tokens":0}}', '"time_info":{"queue_time":0.001,"total_time":0.02}'),
        80 * 350 + 40 * 750,
    ),
    RealUsage(
        "Moonshot: cached tokens beside the others",
        "openai", "moonshotai/kimi-k2.5", "moonshotai/kimi-k2.5",
        chat('{"prompt_tokens":1019,"completion_tokens":13,"total_tokens":1032,"cached_tokens":1000}',
             '"object":"chat.completion"'),
        19 * 600 + 1000 * 100 + 13 * 3_000,
    ),
    RealUsage(
        "Z.ai",
        "openai", "zai/glm-4.6", "zai/GLM-4.6",
        chat('{"prompt_tokens":200,"completion_tokens":60,"total_tokens":260,"prompt_tokens_details":'
             '{"cached_tokens":128}}', '"request_id":"r1"'),
        72 * 600 + 128 * 110 + 60 * 2_200,
    ),
    RealUsage(
        "Voyage: embeddings with a total alone",
        "openai+embeddings", "voyageai/voyage-3.5", "voyageai/voyage-3.5",
        vectors('{"total_tokens":10}'),
        10 * 60,
    ),
    RealUsage(
        "Gemini behind OpenAI's wire: thoughts in the total alone",
        "openai", "google/gemini-2.5-flash", "google/gemini-2.5-flash",
        chat('{"prompt_tokens":20,"completion_tokens":198,"total_tokens":623}', '"object":"chat.completion"'),
        20 * 300 + (198 + 405) * 2_500,
    ),
    RealUsage(
        "Gemini behind OpenAI's wire: nothing but thoughts",
        "openai", "google/gemini-2.5-flash", "google/gemini-2.5-flash",
        chat('{"prompt_tokens":21,"completion_tokens":0,"total_tokens":81,"completion_tokens_details":'
             '{"reasoning_tokens":60}}', '"object":"chat.completion"'),
        21 * 300 + 60 * 2_500,
    ),
    RealUsage(
        "Google's embeddings",
        "gemini+embeddings", "google/gemini-embedding-001", "google/gemini-embedding-001",
        '{"embeddings":[{"values":[0.1]}],"usageMetadata":{"promptTokenCount":12}}',
        12 * 150,
    ),
]  # fmt: skip

REAL_USAGES = [*OPENAI, *RESPONSES, *ANTHROPIC, *GEMINI, *BEDROCK, *COMPATIBLE]
