-- name: usage
-- What the billed attempts of a model used, by the tier of input length in which they are: by where the tier begins.
-- Kinds of tokens are counted by the lines of their bills; parts are not in their wholes there.
select (%(starts)s::bigint[])[width_bucket(input_tokens - 1, %(starts)s::bigint[])] as above, count(*) as attempts,
       sum(input_tokens)::bigint as input_tokens, coalesce(sum(output_tokens), 0)::bigint as output_tokens,
       jsonb_build_object(
         'cache_read_mtok', sum(cache_read), 'cache_write_mtok', sum(cache_write),
         'cache_write_1h_mtok', sum(cache_write_1h), 'input_audio_mtok', sum(input_audio),
         'cache_audio_read_mtok', sum(cache_audio_read), 'output_reasoning_mtok', sum(reasoning),
         'output_audio_mtok', sum(output_audio), 'input_image_mtok', sum(input_image),
         'cache_image_read_mtok', sum(cache_image_read), 'output_image_mtok', sum(output_image),
         'output_citation_mtok', sum(citation), 'web_searches_kcount', sum(searches),
         'storage_searches_kcount', sum(storage_searches)) as quantities,
       coalesce(sum(cost_nanousd), 0)::bigint as cost_nanousd,
       count(*) filter (where cost_nanousd is null) as unknown_cost_attempts
from ledger_entries
cross join lateral (
  select coalesce(sum(quantity) filter (where unit = 'cache_read_mtok'), 0) as cache_read,
         coalesce(sum(quantity) filter (where unit = 'cache_write_mtok'), 0) as cache_write,
         coalesce(sum(quantity) filter (where unit = 'cache_write_1h_mtok'), 0) as cache_write_1h,
         coalesce(sum(quantity) filter (where unit = 'input_audio_mtok'), 0) as input_audio,
         coalesce(sum(quantity) filter (where unit = 'cache_audio_read_mtok'), 0) as cache_audio_read,
         coalesce(sum(quantity) filter (where unit = 'output_reasoning_mtok'), 0) as reasoning,
         coalesce(sum(quantity) filter (where unit = 'output_audio_mtok'), 0) as output_audio,
         coalesce(sum(quantity) filter (where unit = 'input_image_mtok'), 0) as input_image,
         coalesce(sum(quantity) filter (where unit = 'cache_image_read_mtok'), 0) as cache_image_read,
         coalesce(sum(quantity) filter (where unit = 'output_image_mtok'), 0) as output_image,
         coalesce(sum(quantity) filter (where unit = 'output_citation_mtok'), 0) as citation,
         coalesce(sum(quantity) filter (where unit = 'web_searches_kcount'), 0) as searches,
         coalesce(sum(quantity) filter (where unit = 'storage_searches_kcount'), 0) as storage_searches
  from jsonb_to_recordset(lines) as line (unit text, quantity bigint)
) line
where tenant_id = %(tenant_id)s and at >= %(since)s and at < %(until)s and %(model)s in (model, target)
  and (%(key_id)s::text is null or key_id = %(key_id)s)
group by 1
order by 1

-- name: traffic_since
-- When the newest calls begin that are read, and whether there are more of them before.
select coalesce(min(at) filter (where place <= %(calls)s), %(since)s) as since, count(*) > %(calls)s as has_more
from (
  select at, row_number() over (order by at desc) as place
  from ledger_entries
  where tenant_id = %(tenant_id)s and at >= %(since)s and at < %(until)s and unused is null and cost_nanousd > 0
    and (%(key_id)s::text is null or key_id = %(key_id)s)
    and (%(model)s::text is null or %(model)s in (model, target))
  order by at desc limit %(calls)s + 1
) newest

-- name: traffic
-- Answered calls that cost something, the oldest first: what they used, and what was asked.
select entry.trace_id, (extract(epoch from entry.at) * 1000000)::bigint as at_us, entry.model, entry.target,
       entry.feature, entry.key_id, entry.input_tokens, entry.output_tokens, entry.cost_nanousd, entry.price_source,
       (select coalesce(jsonb_object_agg(unit, quantity), '{}')
        from jsonb_to_recordset(entry.lines) as line (unit text, quantity bigint)) as quantities,
       call.operation, call.input_dialect as dialect, call.input, call.attributes->>'backstay.priority' as priority,
       coalesce(attempt.attributes->'gen_ai.response.finish_reasons', '[]') as finish_reasons
from ledger_entries entry
join spans call on call.tenant_id = %(tenant_id)s and call.started_at = entry.at and call.span_id = entry.call_id
left join lateral (
  select attributes from spans
  where tenant_id = %(tenant_id)s and trace_id = entry.trace_id and parent_id = entry.call_id and kind = 'attempt'
    and started_at >= entry.at and started_at < entry.at + interval '1 day'
    and attributes->>'backstay.attempt' = entry.attempt::text
  limit 1
) attempt on true
where entry.tenant_id = %(tenant_id)s and entry.at >= %(since)s and entry.at < %(until)s and entry.unused is null
  and entry.cost_nanousd > 0 and (%(key_id)s::text is null or entry.key_id = %(key_id)s)
  and (%(model)s::text is null or %(model)s in (entry.model, entry.target))
order by entry.at, entry.call_id, entry.attempt
