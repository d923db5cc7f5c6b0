-- name: merge_spans
-- What Span leaves out of its JSON has the default that stands here. Each new call is told to who follows the tenant:
-- tenant, then for each call its start in microseconds and its id; in pieces, as a notification holds 8,000 bytes.
with inserted as (
  insert into spans (tenant_id, started_at, span_id, trace_id, parent_id, kind, name, duration_ns, status, error_code,
                     error_message, operation, model, target, key_id, user_id, feature, tags, http_status, stream,
                     first_token_ns, input_tokens, output_tokens, cost_nanousd, attributes, input_dialect, input,
                     output_dialect, output)
  select doc->>'tenant_id', timestamptz 'epoch' + started_at_ns / 1000 * interval '1 microsecond', span_id, trace_id,
         parent_id, kind, name, duration_ns, status, error_code, error_message, operation, model, target, key_id,
         user_id, feature, coalesce(tags, '{}'), http_status, stream, first_token_ns, input_tokens, output_tokens,
         cost_nanousd, coalesce(attributes, '{}'), input_dialect, case when kind = 'call' then nullif(input, '') end,
         output_dialect, case when kind = 'call' then nullif(output, '') end
  from shipment, jsonb_to_recordset(doc->'spans') as span(
    started_at_ns bigint, span_id text, trace_id text, parent_id text, kind text, name text, duration_ns bigint,
    status text, error_code text, error_message text, operation text, model text, target text, key_id text,
    user_id text, feature text, tags text[], http_status int, stream boolean, first_token_ns bigint,
    input_tokens bigint, output_tokens bigint, cost_nanousd bigint, attributes jsonb, input_dialect text,
    output_dialect text)
  on conflict do nothing
  returning tenant_id, started_at, span_id, kind
)
select pg_notify('backstay_traces', tenant_id || string_agg(
  ' ' || (extract(epoch from started_at) * 1000000)::bigint || '-' || span_id, '' order by started_at))
from (
  select *, row_number() over (partition by tenant_id order by started_at) / 200 as piece
  from inserted where kind = 'call'
) numbered
group by tenant_id, piece

-- name: call_columns
span_id, trace_id, parent_id, kind, name, (extract(epoch from started_at) * 1000000)::bigint * 1000 as started_at_ns,
duration_ns, status, error_code, error_message, operation, model, target, key_id, user_id, feature, tags, http_status,
stream, first_token_ns, input_tokens, output_tokens, cost_nanousd, input_dialect, output_dialect

-- name: call_filter
tenant_id = %(tenant_id)s and kind = 'call'
and (%(since)s::timestamptz is null or started_at >= %(since)s)
and (%(until)s::timestamptz is null or started_at < %(until)s)
and (%(model)s::text is null or model = %(model)s)
and (%(target)s::text is null or target = %(target)s)
and (%(user)s::text is null or user_id = %(user)s)
and (%(feature)s::text is null or feature = %(feature)s)
and (%(tag)s::text is null or %(tag)s = any(tags))
and (%(key_id)s::text is null or key_id = %(key_id)s)
and (%(status)s::text is null or status = %(status)s)
and (%(trace_id)s::text is null or trace_id = %(trace_id)s)
and (%(contains)s::text is null or input ilike %(contains)s or output ilike %(contains)s
     or error_message ilike %(contains)s or starts_with(trace_id, lower(%(q)s)) or starts_with(span_id, lower(%(q)s)))

-- name: older_calls
-- The page is found in the index alone, which holds what calls are filtered by; only its rows are read.
select {call_columns}
from (
  select tenant_id, started_at, span_id
  from spans
  where {call_filter}
    and (%(at)s::timestamptz is null or started_at <= %(at)s and (started_at, span_id) < (%(at)s, %(span_id)s))
  order by started_at desc, span_id desc
  limit %(limit)s
) page
join spans using (tenant_id, started_at, span_id)
where %(since)s::timestamptz is null or spans.started_at >= %(since)s
order by started_at desc, span_id desc

-- name: newer_calls
select {call_columns}
from (
  select tenant_id, started_at, span_id
  from spans
  where {call_filter} and started_at >= %(at)s and (started_at, span_id) > (%(at)s, %(span_id)s)
  order by started_at, span_id
  limit %(limit)s
) page
join spans using (tenant_id, started_at, span_id)
order by started_at, span_id

-- name: named_calls
select {call_columns}
from spans
where {call_filter} and started_at = any(%(starts)s) and span_id = any(%(span_ids)s)

-- name: matching_traces
select distinct trace_id
from spans
where tenant_id = %(tenant_id)s and trace_id >= %(prefix)s and trace_id < %(prefix)s || 'g'
  and (%(key_id)s::text is null or key_id = %(key_id)s)
limit 4

-- name: trace
select {call_columns}, attributes, input, output
from spans
where tenant_id = %(tenant_id)s and trace_id = %(trace_id)s
  and (%(key_id)s::text is null or key_id = %(key_id)s or parent_id in (
    select span_id from spans
    where tenant_id = %(tenant_id)s and trace_id = %(trace_id)s and kind = 'call' and key_id = %(key_id)s))
order by started_at, kind desc, span_id

-- name: figures
count(*) as calls, count(*) filter (where status in ('error', 'interrupted')) as errors,
coalesce(sum(cost_nanousd), 0)::bigint as cost_nanousd, count(*) filter (where cost_nanousd is null) as unknown_cost_calls,
coalesce(sum(input_tokens), 0)::bigint as input_tokens, coalesce(sum(output_tokens), 0)::bigint as output_tokens,
percentile_disc(0.5) within group (order by duration_ns) as p50_ns,
percentile_disc(0.95) within group (order by duration_ns) as p95_ns,
percentile_disc(0.95) within group (order by first_token_ns) as first_token_p95_ns

-- name: overview
-- Bucket 0 to n - 1: the stretches from since to until. No bucket: all of that time, and as long before it.
select bucket, is_now, {figures}
from (
  select *, started_at >= %(since)s as is_now,
         case when started_at >= %(since)s
              then floor(extract(epoch from started_at - %(since)s)::float8 / %(bucket_s)s)::int end as bucket
  from spans
  where tenant_id = %(tenant_id)s and kind = 'call' and started_at >= %(before)s and started_at < %(until)s
    and (%(key_id)s::text is null or key_id = %(key_id)s)
) call
group by grouping sets ((bucket), (is_now))

-- name: model_figures
select model, target, {figures}
from spans
where tenant_id = %(tenant_id)s and kind = 'call' and started_at >= %(since)s and started_at < %(until)s
  and (%(key_id)s::text is null or key_id = %(key_id)s)
group by model, target
order by calls desc, model, target

-- name: facets
select facet, value
from (
  select facet, value, row_number() over (partition by facet order by count(*) desc, value) as place
  from (
    select model, target, user_id, feature, key_id, tags
    from spans
    where tenant_id = %(tenant_id)s and kind = 'call' and started_at >= %(since)s
      and (%(key_id)s::text is null or key_id = %(key_id)s)
    order by started_at desc
    limit %(calls)s
  ) recent,
  lateral (
    values ('models', model), ('targets', target), ('users', user_id), ('features', feature), ('keys', key_id)
    union all select 'tags', unnest(tags)
  ) as facets(facet, value)
  where value is not null
  group by facet, value
) counted
where place <= %(values)s
order by facet, place
