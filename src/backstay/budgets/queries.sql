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
insert into budgets (tenant_id, budget_id, name, scope, per, limit_nanousd, limit_given, span, time_zone, hard, on_low,
                     on_unknown_price, min_output_tokens, wait_ms, rollover, created_by)
values (%(tenant_id)s, %(budget_id)s, %(name)s, %(scope)s, %(per)s, %(limit_nanousd)s, %(limit_given)s, %(span)s,
        %(time_zone)s, %(hard)s, %(on_low)s, %(on_unknown_price)s, %(min_output_tokens)s, %(wait_ms)s, %(rollover)s, %(created_by)s)

-- name: change
update budgets set limit_nanousd = coalesce(%(limit_nanousd)s, limit_nanousd),
  limit_given = case when %(limit_nanousd)s::bigint is null then limit_given else %(limit_given)s end,
  hard = coalesce(%(hard)s, hard),
  stopped = coalesce(%(stopped)s, stopped), on_low = coalesce(%(on_low)s, on_low),
  on_unknown_price = coalesce(%(on_unknown_price)s, on_unknown_price), changed_at = now(),
  deleted_at = case when %(is_deleted)s then now() end
where tenant_id = %(tenant_id)s and budget_id = %(budget_id)s and deleted_at is null
returning old.limit_nanousd as was_nanousd

-- name: is_time_zone
select exists (select from pg_timezone_names where name = %(name)s) as known

-- name: list
select * from budgets
where tenant_id = %(tenant_id)s and deleted_at is null and (%(budget_id)s::text is null or budget_id = %(budget_id)s)
order by created_at desc, budget_id

-- name: windows
-- The current window of each of some budgets: its bounds, those subjects that spent most, and the sums over all of them.
-- A budget without any call yet has bounds alone.
select wanted.budget_id, bounds.starts_us, bounds.ends_us, w.subject, w.carried, w.spent, w.granted,
       w.all_spent, w.all_granted, w.all_subjects
from unnest(%(ids)s::text[], %(spans)s::text[], %(zones)s::text[]) as wanted (budget_id, span, zone)
cross join lateral budget_span(wanted.span, wanted.zone, clock_timestamp()) as bounds
left join lateral (
  select subject, carried, spent, granted, (sum(spent) over ())::bigint as all_spent,
         (sum(granted) over ())::bigint as all_granted, count(*) over () as all_subjects
  from budget_windows
  where tenant_id = %(tenant_id)s and budget_id = wanted.budget_id and starts_us = bounds.starts_us
  order by spent desc, subject limit %(subjects)s
) w on true
order by wanted.budget_id, w.spent desc, w.subject

-- name: burn
-- What was spent of each of some windows, by equal spans of time, from the sums of their parts; a lifetime begins when its
-- window was made. A part counts where it begins.
select wanted.place, began.since_us,
       coalesce(floor((burnt.at_us - began.since_us)
                      / ((wanted.until_us - began.since_us) / %(buckets)s::float8)), 0)::int as bucket,
       coalesce(sum(burnt.amount), 0)::bigint as amount
from unnest(%(ids)s::text[], %(subjects)s::text[], %(starts_us)s::bigint[], %(until_us)s::bigint[])
  with ordinality as wanted (budget_id, subject, starts_us, until_us, place)
left join budget_windows w
  on (w.tenant_id, w.budget_id, w.subject, w.starts_us) =
     (%(tenant_id)s, wanted.budget_id, wanted.subject, wanted.starts_us)
cross join lateral (
  select case when wanted.starts_us > 0 then wanted.starts_us else least(w.opened_us, wanted.until_us - 60000000) end
    as since_us
) began
left join budget_burns burnt
  on (burnt.tenant_id, burnt.budget_id, burnt.subject, burnt.starts_us) =
     (%(tenant_id)s, wanted.budget_id, wanted.subject, wanted.starts_us)
group by 1, 2, 3 order by 1, 3

-- name: leases
-- Who holds money of one window, when each was heard of, and when its part of it last changed.
select l.holder, l.amount, h.seen_us, budgets_now_us() as now_us, l.moved_at
from budget_leases l left join budget_holders h using (holder)
where (l.tenant_id, l.budget_id, l.subject, l.starts_us) =
      (%(tenant_id)s, %(budget_id)s, %(subject)s, %(starts_us)s) and l.amount > 0
order by l.amount desc, l.holder

-- name: dearest_of_some
-- The dearest of those calls that have the dearest postings of one window, of what was reserved and of what was not. A
-- call has one of each at most, so that no other call cost more than `bound`, the least of both together.
with candidates as (
  (select call_id, posted_at, amount, false as is_free from budget_postings
   where (tenant_id, budget_id, subject, starts_us) = (%(tenant_id)s, %(budget_id)s, %(subject)s, %(starts_us)s)
     and kind = 'charge' and source <> 'free' and posted_at >= %(since)s
   order by amount desc limit %(candidates)s)
  union all
  (select call_id, posted_at, amount, true from budget_postings
   where (tenant_id, budget_id, subject, starts_us) = (%(tenant_id)s, %(budget_id)s, %(subject)s, %(starts_us)s)
     and kind = 'charge' and source = 'free' and posted_at >= %(since)s
   order by amount desc limit %(candidates)s)
), bounds as (
  select coalesce(sum(least_amount), 0)::bigint as bound
  from (select min(amount) as least_amount from candidates group by is_free having count(*) = %(candidates)s) each
)
select call_id, posted_at as at, amount, (
  select max(s.trace_id) from spans s
  where s.tenant_id = %(tenant_id)s and s.span_id = call_id
    and s.started_at between posted_at - interval '1 hour' and posted_at + interval '1 minute'
) as trace_id, (select bound from bounds) as bound
from (
  select call_id, posted_at, sum(charge.amount)::bigint as amount
  from (select distinct call_id, posted_at from candidates) candidate
  cross join lateral (
    select amount from budget_postings p
    where (p.tenant_id, p.posted_at, p.call_id, p.budget_id, p.subject, p.starts_us)
        = (%(tenant_id)s, candidate.posted_at, candidate.call_id, %(budget_id)s, %(subject)s, %(starts_us)s)
      and p.kind = 'charge'
  ) charge
  group by call_id, posted_at order by amount desc, call_id limit %(limit)s
) found
order by amount desc, call_id

-- name: holdings
-- What each worker was granted of a lifetime's window until a moment, and what calls that had begun by then cost of it. A
-- charge is posted at its call's time.
select substr(account, 7) as holder, coalesce(sum(signed) filter (where kind <> 'charge'), 0)::bigint as granted,
       coalesce(-sum(signed) filter (where kind = 'charge'), 0)::bigint as charged,
       coalesce(-sum(signed) filter (where kind = 'charge' and posted_at >= %(since)s), 0)::bigint as charged_lately
from (
  select sink as account, kind, amount as signed, posted_at from budget_postings
  where (tenant_id, budget_id, subject, starts_us) = (%(tenant_id)s, %(budget_id)s, '', 0) and posted_at < %(until)s
  union all
  select source, kind, -amount, posted_at from budget_postings
  where (tenant_id, budget_id, subject, starts_us) = (%(tenant_id)s, %(budget_id)s, '', 0) and posted_at < %(until)s
) move
where account like 'lease:%%' group by 1 order by 1

-- name: dearest
-- The calls that one window paid most for, from all of its postings.
select call_id, min(posted_at) as at, sum(amount)::bigint as amount, (
  select max(s.trace_id) from spans s
  where s.tenant_id = %(tenant_id)s and s.span_id = p.call_id
    and s.started_at between min(p.posted_at) - interval '1 hour' and max(p.posted_at) + interval '1 minute'
) as trace_id
from budget_postings p
where (tenant_id, budget_id, subject, starts_us) = (%(tenant_id)s, %(budget_id)s, %(subject)s, %(starts_us)s)
  and kind = 'charge'
group by call_id order by amount desc, call_id limit %(limit)s

-- name: holders
-- Who holds money, and when it was last heard of.
select l.holder, max(h.seen_us) as seen_us, budgets_now_us() as now_us, sum(l.amount) as amount
from budget_leases l left join budget_holders h using (holder) group by l.holder having sum(l.amount) > 0 order by 1

-- name: merge_charges
-- Books what calls cost: each once, by its call, budget and window; where the worker did not know that of a soft budget,
-- it is the one of the call's time. Partitions and windows that are missing are made first: postings cannot be inserted
-- into a table whose partitions are being made.
select ensure_partitions((now() at time zone 'utc')::date);
select budgets_place(tenant_id, budget_id, subject, at, terms)
from (
  select distinct doc->>'tenant_id' as tenant_id, charge->>'budget_id' as budget_id,
         coalesce(charge->>'subject', '') as subject, charge->'window' as terms,
         timestamptz '1970-01-01 00:00:00+00' + (charge->>'at_us')::bigint * interval '1 microsecond' as at
  from shipment cross join lateral jsonb_array_elements(doc->'charges') as charge
  where doc ? 'charges' and not charge ? 'starts_us'
  order by tenant_id, budget_id, subject, at
) as unplaced;
with told as (
  select doc->>'tenant_id' as tenant_id, doc->>'holder' as holder, entry_id as call_id, charge,
         timestamptz '1970-01-01 00:00:00+00' + (charge->>'at_us')::bigint * interval '1 microsecond' as at
  from shipment cross join lateral jsonb_array_elements(doc->'charges') as charge
  where doc ? 'charges'
), placed as (
  select told.*, coalesce(charge->>'subject', '') as subject,
         coalesce((charge->>'starts_us')::bigint, budgets_place(tenant_id, charge->>'budget_id',
                  coalesce(charge->>'subject', ''), at, charge->'window')) as starts_us
  from told
), added as (
  insert into budget_postings (tenant_id, posted_at, budget_id, subject, starts_us, kind, source, sink, amount, call_id)
  select tenant_id, at, charge->>'budget_id', subject, starts_us, 'charge', source, 'spent', amount, call_id
  from placed cross join lateral (values
    ('lease:' || holder, coalesce((charge->>'covered')::bigint, 0)), ('free', coalesce((charge->>'uncovered')::bigint, 0))
  ) as part (source, amount)
  where amount > 0 and starts_us is not null
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
-- What the accounts of each window come to by their postings, beside what the window and its leases say; and what each part
-- of its time comes to, beside the sum that is kept of it.
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
), burnt as (
  select budget_id, subject, starts_us, budget_part(starts_us, ends_us, opened_us, posted_at) as at_us, sum(amount) as amount
  from budget_postings join budget_windows using (tenant_id, budget_id, subject, starts_us)
  where tenant_id = %(tenant_id)s and sink = 'spent'
  group by 1, 2, 3, 4
)
select (select count(*) from budget_windows where tenant_id = %(tenant_id)s) as windows,
       (select count(*) from budget_postings where tenant_id = %(tenant_id)s) as postings,
       (select count(*) from compared where posted <> kept) as differing,
       (select count(*) from burnt full join (select * from budget_burns where tenant_id = %(tenant_id)s) kept
          using (budget_id, subject, starts_us, at_us)
        where burnt.amount is distinct from kept.amount) as differing_burns,
       (select count(*) from budget_windows where tenant_id = %(tenant_id)s and spent + granted > limit_nanousd + carried) as over
