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
