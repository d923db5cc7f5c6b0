-- name: tenants
insert into tenants (tenant_id) values ('default'), ('acme'), ('globex') on conflict do nothing

-- name: partitions
select ensure_partitions(day::date) from generate_series(%(since)s, %(until)s, interval '1 day') as day

-- name: count
select count(*) as entries from ledger_entries

-- name: entries
-- The entries of one stretch of time. Three tenants, of which one makes four calls in five; 20,000 users whose shares
-- fall as one over their rank (Zipf); each has two of 30 features; a feature has its key, or for a tenth of its calls a
-- second one, and mostly its model of twelve; a key belongs to one of eight teams. 2 %% of calls take a second attempt,
-- 0.05 %% have an unknown cost. Each entry has the lines of its bill.
insert into ledger_entries (tenant_id, at, call_id, attempt, trace_id, key_id, user_id, feature, tags, model, target,
                            input_tokens, output_tokens, cost_nanousd, unconfirmed, price_source, lines, unused)
select tenant, at, lpad(to_hex(number), 16, '0'), attempt, md5(number::text), 'key_' || key, 'u-' || "user",
       'feature-' || feature, array['team:' || key %% 8] || case when "user" %% 10 = 0 then array['beta'] else '{}' end,
       'model-' || model, 'acme/model-' || model || case when attempt = 1 then '-b' else '' end, input_tokens,
       output_tokens, case when not is_unknown then input_tokens * price + output_tokens * 4 * price end, is_unknown,
       'genai-prices 0.2.3',
       case when is_unknown then '[]' else jsonb_build_array(
         jsonb_build_object('unit', 'input_mtok', 'quantity', input_tokens, 'usd_per_million', price * 0.001,
                            'amount_nanousd', input_tokens * price),
         jsonb_build_object('unit', 'output_mtok', 'quantity', output_tokens, 'usd_per_million', price * 0.004,
                            'amount_nanousd', output_tokens * 4 * price)) end,
       case when attempt < attempts - 1 then 'retry' end
from (
  select *, feature + case when second_key < 0.1 then 30 * (feature < 10)::int else 0 end as key,
         50 * (1 + model * model) as price
  from (
    select *, 1 + case when other_model < 0.1 then floor(120 * other_model)::int else feature %% 12 end as model
    from (
      select *, ("user" * 7 + (random() < 0.3)::int) %% 30 as feature, random() as second_key, random() as other_model
      from (
        select number, floor(exp(random() * ln(20000)))::int as "user",
               case when share < 0.8 then 'default' when share < 0.95 then 'acme' else 'globex' end as tenant,
               date_trunc('milliseconds', %(since)s::timestamptz
                 + (random() + random()) / 2 * (%(until)s::timestamptz - %(since)s::timestamptz)) as at,
               random() < 0.0005 as is_unknown, 1 + (random() < 0.02)::int as attempts,
               300 + floor(2300 * random())::bigint as input_tokens, 20 + floor(380 * random())::bigint as output_tokens
        from (
          select number, random() as share
          from generate_series(%(first)s::bigint, %(first)s::bigint + %(calls)s - 1) as number
        ) numbered
      ) drawn
    ) placed
  ) chosen
) call
cross join lateral generate_series(0, attempts - 1) as attempt
order by tenant, at, number, attempt

-- name: budgets
-- Three budgets that were spent by these entries: of all calls this month, of a feature in all its life, and of each user
-- this week.
insert into budgets (tenant_id, budget_id, name, scope, per, limit_nanousd, span, created_by)
values ('default', 'bud_month', 'All calls', '{}', null, 0, 'month', 'bench'),
       ('default', 'bud_feature', 'One feature', '{feature:feature-3}', null, 0, 'lifetime', 'bench'),
       ('default', 'bud_each', 'Each user', '{}', 'user', 0, 'week', 'bench')

-- name: windows
-- Their windows, twice as large as what was spent of them.
with spent as (
  select budget_id, case when per = 'user' then user_id else '' end as subject, starts_us, ends_us,
         sum(cost_nanousd) as amount
  from budgets cross join lateral budget_span(span, time_zone, now()) as bounds
  join ledger_entries entry
    on entry.tenant_id = 'default' and cost_nanousd > 0
    and at >= timestamptz '1970-01-01 00:00:00+00' + starts_us / 1000000 * interval '1 second'
    and (scope = '{}' or 'feature:' || feature = any(scope))
  group by 1, 2, 3, 4
), limited as (
  update budgets b set limit_nanousd = (select coalesce(2 * max(amount), 0) from spent where spent.budget_id = b.budget_id)
  returning budget_id, limit_nanousd
)
insert into budget_windows (tenant_id, budget_id, subject, starts_us, ends_us, limit_nanousd, spent)
select 'default', budget_id, subject, starts_us, ends_us, limit_nanousd, amount from spent join limited using (budget_id)

-- name: opened
-- A lifetime began with its first call.
update budget_windows
set opened_us = (select (extract(epoch from min(at)) * 1000000)::bigint from ledger_entries where tenant_id = 'default')
where ends_us = 9223372036854775807

-- name: allotments
insert into budget_postings (tenant_id, posted_at, budget_id, subject, starts_us, kind, source, sink, amount)
select tenant_id, now(), budget_id, subject, starts_us, kind, source, sink, amount
from budget_windows cross join lateral (
  values ('allot', 'limit', 'free', limit_nanousd), ('grant', 'free', 'lease:bench', spent)
) as move (kind, source, sink, amount)

-- name: charges
-- What the calls of one stretch of time were charged.
insert into budget_postings (tenant_id, posted_at, budget_id, subject, starts_us, kind, source, sink, amount, call_id)
select entry.tenant_id, at, budgets.budget_id, subject, starts_us, 'charge', 'lease:bench', 'spent', sum(cost_nanousd), call_id
from ledger_entries entry
join budgets using (tenant_id)
join budget_windows w
  on (w.tenant_id, w.budget_id, w.subject) = (entry.tenant_id, budgets.budget_id, case when per = 'user' then user_id else '' end)
where at >= %(since)s and at < %(until)s and cost_nanousd > 0
  and at >= timestamptz '1970-01-01 00:00:00+00' + starts_us / 1000000 * interval '1 second'
  and (scope = '{}' or 'feature:' || feature = any(scope))
group by entry.tenant_id, at, budgets.budget_id, subject, starts_us, call_id

-- name: hurry
set local synchronous_commit = off; set local work_mem = '256MB'

-- name: settle
vacuum analyze

-- name: sums
-- What each tenant's ledger adds up to, and what each kind of sums does.
with summed as (
  select tenant_id, 'ledger' as kind, 0 as grain_s, sum(cost_nanousd) as cost_nanousd from ledger_entries group by 1
  union all
  select tenant_id, kind, grain_s, sum(cost_nanousd) from cost_rollups where kind <> 'tag' group by 1, 2, 3
  union all
  select tenant_id, 'user alone', 86400, sum(cost_nanousd) from user_days group by 1
  union all
  select tenant_id, 'user alone', 604800, sum(cost_nanousd) from user_weeks group by 1
  union all
  -- What is sealed of a length, and for what is not, the entries.
  select tenant_id, 'sealed ' || kind, grain_s,
         (select sum(cost_nanousd) from sealed_sums where (sealed_sums.tenant_id, sealed_sums.kind, sealed_sums.grain_s)
            = (each.tenant_id, each.kind, each.grain_s))
         + (select coalesce(sum(cost_nanousd), 0) from sealed_stretches open join cost_rollups sums
              on sums.tenant_id = open.tenant_id and sums.kind = 'all' and sums.grain_s = 3600 and sums.at >= open.at
              and sums.at < open.at + open.grain_s * interval '1 second'
            where not is_sealed and open.tenant_id = each.tenant_id and open.grain_s = each.grain_s)
  from (select distinct tenant_id, kind, grain_s from sealed_sums where kind <> 'tag_user') each
)
select tenant_id, jsonb_object_agg(kind || ' ' || grain_s, cost_nanousd) as sums,
       count(distinct cost_nanousd) > 1 as differing
from summed group by 1
