-- name: partitions
select ensure_partitions(day::date) from generate_series(%(since)s, %(until)s, interval '1 day') as day

-- name: calls
-- The calls of one stretch of time, most around its middle. Two thousand users, of whom few make most calls; each has
-- two features that it uses; a feature has its key and, mostly, its model. 0.6 %% of calls fail, 3 %% fall back.
create temp table made on commit drop as
select started_at, to_hex(number) as number, model, feature, "user", 'key_' || place %% 4 as key_id, status, falls_back,
       case when place = 1 then array['team:care'] when "user" %% 10 = 0 then array['beta', 'team:core'] else '{}' end
         as tags,
       first_ns, first_ns + (output_tokens * (4 + 5 * random()) * 1e6)::bigint as duration_ns, input_tokens,
       output_tokens, input_nanousd * input_tokens + output_nanousd * output_tokens as cost_nanousd
from (
  select *, 1 + ("user" * 7 + (random() < 0.3)::int) %% 6 as place, random() < 0.1 as is_unusual
  from (
    select number, floor(2000 * random() ^ 3)::int as "user",
           %(since)s::timestamptz
             + (random() + random()) / 2 * (%(until)s::timestamptz - %(since)s::timestamptz) as started_at,
           case when random() < 0.006 then 'error' when random() < 0.0005 then 'interrupted' else 'ok' end as status,
           random() < 0.03 as falls_back, (exp(random_normal(5.6, 0.4)) * 1e6)::bigint as first_ns,
           300 + floor(2300 * random())::bigint as input_tokens, 20 + floor(380 * random())::bigint as output_tokens
    from generate_series(%(first)s::bigint, %(first)s::bigint + %(calls)s - 1) as number
  ) drawn
) placed
join (values (1, 'support-answer'), (2, 'contract-summary'), (3, 'search-rewrite'), (4, 'invoice-agent'),
             (5, 'product-copy'), (6, null)) as features (place, feature) using (place)
join (values (1, 'gpt-4o-mini', 150, 600), (2, 'claude-sonnet', 3000, 15000), (3, 'local', 0, 0),
             (4, 'claude-sonnet', 3000, 15000), (5, 'gpt-4o', 2500, 10000), (6, 'house-llm', null, null))
     as models (model_place, model, input_nanousd, output_nanousd)
  on model_place = case when is_unusual then 1 + place %% 6 else place end

-- name: spans
insert into spans (tenant_id, started_at, span_id, trace_id, parent_id, kind, name, duration_ns, status, error_code,
                   error_message, operation, model, target, key_id, user_id, feature, tags, http_status, stream,
                   first_token_ns, input_tokens, output_tokens, cost_nanousd, attributes, input_dialect, input,
                   output_dialect, output)
select 'default', started_at, lpad(number, 16, '0'), md5(number), null, 'call', 'chat ' || model, duration_ns, status,
       case when status <> 'ok' then 'provider_error' end, case when status <> 'ok' then 'Rate limit reached.' end, 'chat',
       model, 'acme/' || model || case when falls_back then '-b' else '' end, key_id, 'u-' || "user", feature, tags, 200,
       false, case when status = 'ok' then first_ns end, input_tokens, output_tokens,
       case when status <> 'interrupted' then cost_nanousd end, jsonb_build_object('gen_ai.request.model', model), 'openai',
       '{"model":"' || model || '","messages":[{"role":"user","content":"How long do I have to send shoes back?"}]}',
       'openai', '{"choices":[{"message":{"role":"assistant","content":"Within 30 days of delivery."}}]}'
from made
union all
select 'default', started_at + interval '5 ms', 'a' || lpad(number, 15, '0'), md5(number), lpad(number, 16, '0'), 'attempt',
       'chat ' || model, duration_ns, status, null, null, 'chat', null, 'acme/' || model, null, null, null, '{}', 200, null,
       first_ns, input_tokens, output_tokens, cost_nanousd,
       jsonb_build_object('gen_ai.provider.name', 'acme', 'gen_ai.request.model', model, 'backstay.attempt', 0), null, null,
       null, null
from made

-- name: entries
insert into ledger_entries (tenant_id, at, call_id, attempt, trace_id, key_id, user_id, feature, tags, model, target,
                            input_tokens, output_tokens, cost_nanousd, unconfirmed, price_source)
select 'default', started_at, lpad(number, 16, '0'), falls_back::int, md5(number), key_id, 'u-' || "user", feature, tags,
       model, 'acme/' || model || case when falls_back then '-b' else '' end, input_tokens, output_tokens,
       case when status <> 'interrupted' then cost_nanousd end, status = 'interrupted', 'genai-prices 0.2.3'
from made
where status <> 'error'

-- name: count
select count(*) as calls from spans where kind = 'call'

-- name: settle
vacuum analyze

-- name: triggers_on
alter table spans enable trigger roll_up; alter table ledger_entries enable trigger roll_up

-- name: triggers_off
alter table spans disable trigger roll_up; alter table ledger_entries disable trigger roll_up
