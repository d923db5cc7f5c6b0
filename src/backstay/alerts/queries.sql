-- name: raise
-- One row for however many raise it at once. What is known of an open one is brought up to date once a minute.
insert into alerts (tenant_id, alert_id, kind, subject, threshold, time_window, severity, title, details, numbers, link)
values (%(tenant_id)s, %(alert_id)s, %(kind)s, %(subject)s, %(threshold)s, %(window)s, %(severity)s, %(title)s,
        %(details)s, %(numbers)s::jsonb, %(link)s)
on conflict (tenant_id, kind, subject, threshold, time_window) where state = 'open' do update
set seen_at = now(), severity = excluded.severity, title = excluded.title, details = excluded.details,
    numbers = excluded.numbers, link = excluded.link
where alerts.seen_at < now() - interval '1 minute'
returning alert_id, old.alert_id is null as is_new

-- name: tell
insert into alert_deliveries (tenant_id, delivery_id, alert_id, event, channel)
select %(tenant_id)s, delivery_id, %(alert_id)s, %(event)s, channel
from unnest(%(delivery_ids)s::text[], %(channels)s::text[]) as each (delivery_id, channel)
on conflict do nothing

-- name: resolve
update alerts set state = 'resolved', resolved_at = now(), resolution = %(resolution)s
where tenant_id = %(tenant_id)s and kind = %(kind)s and subject = %(subject)s and threshold = %(threshold)s
  and time_window = %(window)s and state = 'open'
returning alert_id

-- name: told
-- The channels that were told of an alert, or soon will be.
select channel from alert_deliveries
where tenant_id = %(tenant_id)s and alert_id = %(alert_id)s and event = 'raised' and state <> 'failed'

-- name: open_of
-- The open alerts of some kinds, in one tenant or (null) in all.
select tenant_id, kind, subject, threshold, time_window as window from alerts
where state = 'open' and kind = any(%(kinds)s) and (%(tenant_id)s::text is null or tenant_id = %(tenant_id)s)

-- name: take_turn
-- One process at a time looks; the others leave it to that one.
select pg_try_advisory_xact_lock(hashtext('backstay.alerts')) as is_mine

-- name: spent_budgets
-- Current windows of which at least so much is spent, or of which something is open. The policy's own budgets have no
-- row in budgets. A limit that was changed is in a window from the next call on, so that the budget's own counts.
select w.tenant_id, w.budget_id, w.subject, w.starts_us, w.ends_us, w.spent,
       coalesce(b.limit_nanousd, w.limit_nanousd) + w.carried as amount,
       b.name, b.scope, b.span, b.hard
from budget_windows w left join budgets b using (tenant_id, budget_id)
where w.ends_us > budgets_now_us() and w.spent > 0 and b.deleted_at is null
  and (w.spent >= %(share)s * (coalesce(b.limit_nanousd, w.limit_nanousd) + w.carried)
       or exists (select from alerts a
                  where (a.tenant_id, a.kind, a.state) = (w.tenant_id, 'budget_share', 'open')
                    and a.subject = 'budget:' || w.budget_id || case when w.subject <> '' then '/' || w.subject else '' end))

-- name: unpriced
select tenant_id, target, count(*) as calls, max(at) as last_at
from ledger_entries
where cost_nanousd is null and input_tokens is not null and at > now() - make_interval(secs => %(look_back_s)s)
group by tenant_id, target

-- name: uncovered
-- What calls cost beyond what was reserved for them. Of a soft budget that is as it should be.
select p.tenant_id, p.budget_id, p.subject, p.starts_us, count(*) as calls, sum(p.amount) as amount, max(p.amount) as most,
       b.name, b.scope, b.span, b.hard
from budget_postings p left join budgets b using (tenant_id, budget_id)
where p.kind = 'charge' and p.source = 'free' and p.posted_at > now() - make_interval(secs => %(look_back_s)s)
  and b.hard is not false and b.deleted_at is null
group by p.tenant_id, p.budget_id, p.subject, p.starts_us, b.name, b.scope, b.span, b.hard

-- name: count_open
select kind, count(*) as count from alerts where state = 'open' group by kind order by kind

-- name: forget_old
delete from alerts where state = 'resolved' and resolved_at < now() - make_interval(days => %(keep_days)s)

-- name: claim
-- That something is over is told after that it began, where both wait.
with due as (
  select tenant_id, delivery_id from alert_deliveries d
  where state = 'waiting' and due_at <= now()
    and (event = 'raised' or not exists (
      select from alert_deliveries first
      where (first.tenant_id, first.alert_id, first.channel) = (d.tenant_id, d.alert_id, d.channel)
        and first.event = 'raised' and first.state = 'waiting'))
  order by due_at limit %(most)s for update skip locked
)
update alert_deliveries d set tries = d.tries + 1, due_at = now() + make_interval(secs => %(lease_s)s)
from due, alerts a
where (d.tenant_id, d.delivery_id) = (due.tenant_id, due.delivery_id) and (a.tenant_id, a.alert_id) = (d.tenant_id, d.alert_id)
returning d.delivery_id, d.event, d.channel, d.tries, a.tenant_id, a.alert_id as id, a.kind, a.subject, a.threshold,
  a.time_window as window, a.severity, a.title, a.details, a.numbers, a.link, a.state, a.raised_at, a.seen_at,
  a.resolved_at, a.resolution, a.acknowledged_at, a.acknowledged_by

-- name: end_delivery
update alert_deliveries
set state = %(state)s, error = %(problem)s, due_at = now() + make_interval(secs => %(pause_s)s),
    ended_at = case when %(state)s <> 'waiting' then now() end
where tenant_id = %(tenant_id)s and delivery_id = %(delivery_id)s and state = 'waiting'

-- name: next_delivery
select extract(epoch from min(due_at) - now())::float8 as in_s from alert_deliveries where state = 'waiting'

-- name: list
-- The newest first: ids begin with the time.
select alert_id as id, kind, subject, threshold, time_window as window, severity, title, details, numbers, link, state,
       raised_at, seen_at, resolved_at, resolution, acknowledged_at, acknowledged_by
from alerts
where tenant_id = %(tenant_id)s and (%(state)s::text is null or state = %(state)s)
  and (%(before)s::text is null or alert_id < %(before)s)
order by alert_id desc limit %(limit)s

-- name: find
select alert_id as id, kind, subject, threshold, time_window as window, severity, title, details, numbers, link, state,
       raised_at, seen_at, resolved_at, resolution, acknowledged_at, acknowledged_by
from alerts where tenant_id = %(tenant_id)s and alert_id = %(alert_id)s

-- name: deliveries
select delivery_id as id, event, channel, state, tries, error, case when state = 'waiting' then due_at end as due_at, ended_at
from alert_deliveries where tenant_id = %(tenant_id)s and alert_id = %(alert_id)s order by delivery_id

-- name: acknowledge
update alerts set acknowledged_at = now(), acknowledged_by = %(by)s
where tenant_id = %(tenant_id)s and alert_id = %(alert_id)s and acknowledged_at is null

-- name: open_count
select count(*) as count from alerts where tenant_id = %(tenant_id)s and state = 'open'
