-- name: merge_spans
-- What Span leaves out of its JSON has the default that stands here. Each new call is told to who follows the tenant:
-- tenant, then for each call its start in microseconds and its id; in pieces, as a notification holds 8,000 bytes.
-- Rows go in by the order of their key, so that two who ship the same calls wait for each other and never in a circle.
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
  order by doc->>'tenant_id', started_at_ns, span_id
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
and (%(tried)s::text is null or exists (
  select from spans attempt
  where attempt.tenant_id = %(tenant_id)s and attempt.trace_id = spans.trace_id and attempt.parent_id = spans.span_id
    and attempt.kind = 'attempt' and attempt.target = %(tried)s
    and attempt.started_at >= spans.started_at and attempt.started_at < spans.started_at + interval '1 day'
    and (not %(tried_failed)s or attempt.status = 'error')))
and (%(user)s::text is null or user_id = %(user)s)
and (%(feature)s::text is null or feature = %(feature)s)
and (%(tag)s::text is null or %(tag)s = any(tags))
and (%(key_id)s::text is null or key_id = %(key_id)s)
and (%(batch_id)s::text is null or attributes->>'backstay.batch.id' = %(batch_id)s)
and (%(status)s::text is null or status = %(status)s)
and (%(statuses)s::text[] is null or status = any(%(statuses)s))
and ('model' <> all(%(without)s::text[]) or model is null)
and ('target' <> all(%(without)s::text[]) or target is null)
and ('user' <> all(%(without)s::text[]) or user_id is null)
and ('feature' <> all(%(without)s::text[]) or feature is null)
and ('key' <> all(%(without)s::text[]) or key_id is null)
and ('tag' <> all(%(without)s::text[]) or tags = '{}')
and (not %(charged)s or exists (
  select from ledger_entries entry
  where entry.tenant_id = %(tenant_id)s and entry.at = spans.started_at and entry.call_id = spans.span_id
    and (%(since)s::timestamptz is null or entry.at >= %(since)s)
    and (%(until)s::timestamptz is null or entry.at < %(until)s)
    and (%(charged_by)s::text is null or entry.target = %(charged_by)s)
    and (%(unused)s::text is null or entry.unused = %(unused)s)))
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

-- name: dearest_calls
select {call_columns}
from spans
where {call_filter} and cost_nanousd > 0
order by cost_nanousd desc, started_at desc, span_id desc
limit %(limit)s

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

-- name: place
-- When a stretch of the overview begins, and whether a call is in the time asked for, not in the time before.
case when at >= %(since)s then date_bin(%(step)s, at, timestamptz '1970-01-01 00:00:00+00') end as stretch,
at >= %(since)s as is_now

-- name: overview
-- By stretch: what is in the time asked for. By no stretch: all of that time, and as long before it.
select stretch, is_now, {figures}
from (
  select *, {place}
  from (select *, started_at as at from spans) span
  where tenant_id = %(tenant_id)s and kind = 'call' and started_at >= %(before)s and started_at < %(until)s
    and (%(key_id)s::text is null or key_id = %(key_id)s)
) call
group by grouping sets ((stretch), (is_now))

-- name: model_figures
select counted_model(model, target, status) as model, target, {figures}
from spans
where tenant_id = %(tenant_id)s and kind = 'call' and started_at >= %(since)s and started_at < %(until)s
  and (%(key_id)s::text is null or key_id = %(key_id)s)
group by 1, 2
order by calls desc, 1, 2

-- name: edge
select started_at, counted_model(model, target, status), target, status, duration_ns, first_token_ns, input_tokens,
       output_tokens, cost_nanousd
from spans
where tenant_id = %(tenant_id)s and kind = 'call' and started_at >= %(since_{n})s and started_at < %(until_{n})s

-- name: rolled_figures
-- The figures of a time from sums of its whole stretches, and from the calls of its edges. Percentiles are read from
-- histograms; those of the time before are left out.
with whole as (
  select * from unnest(%(grains_s)s::int[], %(whole_since)s::timestamptz[], %(whole_until)s::timestamptz[])
    as whole (grain_s, since, until)
), edge_calls as materialized (
  select null::timestamptz as at, null as model, null as target, null as status, 0 as duration_ns, 0 as first_token_ns,
         0 as input_tokens, 0 as output_tokens, 0 as cost_nanousd
  where false
  {edges}
), counted as (
  select {group}, sum(calls)::bigint as calls, sum(errors)::bigint as errors,
         coalesce(sum(cost_nanousd), 0)::bigint as cost_nanousd, sum(unknown_cost_calls)::bigint as unknown_cost_calls,
         coalesce(sum(input_tokens), 0)::bigint as input_tokens,
         coalesce(sum(output_tokens), 0)::bigint as output_tokens
  from (
    select *, {place} from (
      select at, model, target, calls, errors, unknown_cost_calls, input_tokens, output_tokens, cost_nanousd
      from whole cross join lateral (
        select * from call_rollups
        where tenant_id = %(tenant_id)s and grain_s = whole.grain_s and at >= whole.since and at < whole.until
        offset 0
      ) sums
      union all
      select at, model, target, 1, (status in ('error', 'interrupted'))::int, (cost_nanousd is null)::int, input_tokens,
             output_tokens, cost_nanousd
      from edge_calls
    ) part
  ) placed
  group by grouping sets ({sets})
), timed as (
  select {group}, measure, bucket, sum(calls) as calls
  from (
    select *, {place} from (
      select at, model, target, measure, bucket, calls
      from whole cross join lateral (
        select * from latency_rollups
        where tenant_id = %(tenant_id)s and kind = '{latencies}' and grain_s = whole.grain_s and at >= whole.since
          and at < whole.until
        offset 0
      ) sums
      where whole.since >= %(since)s
      union all
      select at, model, target, measure, latency_bucket(length_ns), 1
      from edge_calls
      cross join lateral (values ('duration', duration_ns), ('first_token', first_token_ns)) as one (measure, length_ns)
      where length_ns is not null and at >= %(since)s
    ) part
  ) placed
  group by measure, bucket, grouping sets ({sets})
), ranked as (
  select {group}, measure, bucket,
         sum(calls) over (partition by {group}, measure order by bucket)
           / sum(calls) over (partition by {group}, measure) as share
  from timed
), percentiles as (
  select {group}, latency_value(min(bucket) filter (where measure = 'duration' and share >= 0.5)) as p50_ns,
         latency_value(min(bucket) filter (where measure = 'duration' and share >= 0.95)) as p95_ns,
         latency_value(min(bucket) filter (where measure = 'first_token' and share >= 0.95)) as first_token_p95_ns
  from ranked
  group by {group}
)
select counted.*, p50_ns, p95_ns, first_token_p95_ns
from counted
left join percentiles on ({group_of_counted}) is not distinct from ({group_of_percentiles})
order by calls desc, {group}

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

-- name: compare_rollups
-- Of each sum that is kept, whether it is what its calls add up to; both without the other included.
with call as (
  select *, rollup_start(grain_s, started_at) as at, counted_model(model, target, status) as counted
  from spans cross join rollup_grains() as grain_s
  where tenant_id = %(tenant_id)s and kind = 'call'
), expected as (
  select '' as kind, grain_s, at, counted as model, target, '' as measure, 0 as bucket,
         (count(*), count(*) filter (where status in ('error', 'interrupted')),
          count(*) filter (where cost_nanousd is null), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
          coalesce(sum(cost_nanousd), 0))::text as sums
  from call group by 2, 3, 4, 5
  union all
  select part.kind, grain_s, at, part.model, part.target, measure, latency_bucket(length_ns), row(count(*))::text
  from call
  cross join lateral (values ('all', null, null), ('target', counted, target)) as part (kind, model, target)
  cross join lateral (values ('duration', duration_ns), ('first_token', first_token_ns)) as one (measure, length_ns)
  where length_ns is not null
  group by 1, 2, 3, 4, 5, 6, 7
), kept as (
  select '' as kind, grain_s, at, model, target, '' as measure, 0 as bucket,
         (calls, errors, unknown_cost_calls, input_tokens, output_tokens, cost_nanousd)::text as sums
  from call_rollups where tenant_id = %(tenant_id)s
  union all
  select kind, grain_s, at, model, target, measure, bucket, row(calls)::text
  from latency_rollups where tenant_id = %(tenant_id)s
)
select count(*) as differing
from (
  (select * from expected except all select * from kept) union all (select * from kept except all select * from expected)
) different
