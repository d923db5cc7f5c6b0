-- name: sync
select budgets_sync(%(holder)s, %(asks)s::jsonb, %(live_us)s)::text as reply

-- name: end_holder
select budgets_end(%(holder)s, %(is_spent)s) as amount

-- name: read_all
select * from budgets where deleted_at is null

-- name: read_some
select b.* from budgets b join unnest(%(tenants)s::text[], %(ids)s::text[]) as wanted (tenant_id, budget_id)
  using (tenant_id, budget_id)

-- name: create
insert into budgets (tenant_id, budget_id, name, scope, per, limit_nanousd, span, time_zone, hard, on_low,
                     on_unknown_price, min_output_tokens, wait_ms, rollover, created_by)
values (%(tenant_id)s, %(budget_id)s, %(name)s, %(scope)s, %(per)s, %(limit_nanousd)s, %(span)s, %(time_zone)s, %(hard)s,
        %(on_low)s, %(on_unknown_price)s, %(min_output_tokens)s, %(wait_ms)s, %(rollover)s, %(created_by)s)

-- name: change
update budgets set limit_nanousd = coalesce(%(limit_nanousd)s, limit_nanousd), hard = coalesce(%(hard)s, hard),
  stopped = coalesce(%(stopped)s, stopped), on_low = coalesce(%(on_low)s, on_low),
  on_unknown_price = coalesce(%(on_unknown_price)s, on_unknown_price), changed_at = now(),
  deleted_at = case when %(is_deleted)s then now() end
where tenant_id = %(tenant_id)s and budget_id = %(budget_id)s and deleted_at is null

-- name: is_time_zone
select exists (select from pg_timezone_names where name = %(name)s) as known

-- name: list
-- The current window of each budget and subject; a budget without any call yet has none.
select b.*, w.subject, w.starts_us, w.ends_us, w.carried, w.spent, w.granted
from budgets b
left join lateral (
  select * from budget_windows w
  where (w.tenant_id, w.budget_id) = (b.tenant_id, b.budget_id) and w.ends_us > budgets_now_us()
  order by w.spent desc limit %(subjects)s
) w on true
where b.tenant_id = %(tenant_id)s and b.deleted_at is null and (%(budget_id)s::text is null or b.budget_id = %(budget_id)s)
order by b.created_at desc, b.budget_id, w.spent desc

-- name: policy_windows
-- The current windows of the policy's own budgets, which have no row of their own.
select * from budget_windows w
where w.tenant_id = %(tenant_id)s and w.budget_id like 'policy:%%' and w.ends_us > budgets_now_us()
order by w.budget_id, w.spent desc limit %(subjects)s

-- name: holders
-- Who holds money, and when it was last heard of.
select l.holder, max(h.seen_us) as seen_us, budgets_now_us() as now_us, sum(l.amount) as amount
from budget_leases l left join budget_holders h using (holder) group by l.holder having sum(l.amount) > 0 order by 1

-- name: merge_charges
-- Books what calls cost: each once, by its call, budget and window.
with told as (
  select doc->>'tenant_id' as tenant_id, doc->>'holder' as holder, entry_id as call_id, charge,
         timestamptz '1970-01-01 00:00:00+00' + (charge->>'at_us')::bigint * interval '1 microsecond' as at
  from shipment cross join lateral jsonb_array_elements(doc->'charges') as charge
  where doc ? 'charges'
), added as (
  insert into budget_postings (tenant_id, posted_at, budget_id, subject, starts_us, kind, source, sink, amount, call_id)
  select tenant_id, at, charge->>'budget_id', coalesce(charge->>'subject', ''), (charge->>'starts_us')::bigint, 'charge',
         source, 'spent', amount, call_id
  from told cross join lateral (values
    ('lease:' || holder, coalesce((charge->>'covered')::bigint, 0)), ('free', coalesce((charge->>'uncovered')::bigint, 0))
  ) as part (source, amount)
  where amount > 0
  on conflict do nothing
  returning tenant_id, budget_id, subject, starts_us, source, amount
), summed as (
  select tenant_id, budget_id, subject, starts_us, substr(source, 7) as holder, sum(amount) as covered, 0 as uncovered
  from added where source <> 'free' group by 1, 2, 3, 4, 5
  union all
  select tenant_id, budget_id, subject, starts_us, '', 0, sum(amount) from added where source = 'free' group by 1, 2, 3, 4
)
select budgets_settle(tenant_id, budget_id, subject, starts_us, holder, covered::bigint, uncovered::bigint)
from (select * from summed
      order by tenant_id collate "C", budget_id collate "C", subject collate "C", starts_us, holder) as each_window

-- name: audit
-- What the accounts of each window come to by their postings, beside what the window and its leases say.
with posted as (
  select budget_id, subject, starts_us, account, sum(amount) as amount
  from (
    select budget_id, subject, starts_us, sink as account, amount from budget_postings where tenant_id = %(tenant_id)s
    union all
    select budget_id, subject, starts_us, source, -amount from budget_postings where tenant_id = %(tenant_id)s
  ) move group by 1, 2, 3, 4
), kept as (
  select budget_id, subject, starts_us, account, amount from budget_windows w
  cross join lateral (values
    ('limit', -(limit_nanousd + carried)), ('spent', spent), ('free', limit_nanousd + carried - spent - granted)
  ) as each (account, amount) where w.tenant_id = %(tenant_id)s
  union all
  select budget_id, subject, starts_us, 'lease:' || holder, amount from budget_leases where tenant_id = %(tenant_id)s
), compared as (
  select budget_id, subject, starts_us, account, coalesce(p.amount, 0) as posted, coalesce(k.amount, 0) as kept
  from posted p full join kept k using (budget_id, subject, starts_us, account)
)
select (select count(*) from budget_windows where tenant_id = %(tenant_id)s) as windows,
       (select count(*) from budget_postings where tenant_id = %(tenant_id)s) as postings,
       (select count(*) from compared where posted <> kept) as differing,
       (select count(*) from budget_windows where tenant_id = %(tenant_id)s and spent + granted > limit_nanousd + carried) as over
