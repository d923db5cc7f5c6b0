-- name: tenants
-- Whose spend is looked at: who spent something of late, or has an alert about it.
select tenant_id from tenants t
where exists (select from cost_rollups sums
              where sums.tenant_id = t.tenant_id and sums.kind = 'all' and sums.grain_s = 3600 and sums.at >= %(since)s)
   or exists (select from alerts open
              where open.tenant_id = t.tenant_id and open.state = 'open' and open.kind in ('anomaly', 'forecast_over'))

-- name: quiet_loops
-- Loops of which nobody has heard for longer than the time within which their calls count, and two minutes: what is told
-- of an open alert is written once a minute.
select tenant_id, kind, subject, threshold, time_window as window from alerts
where state = 'open' and kind = 'loop'
  and seen_at < now() - (coalesce((numbers->>'window_s')::float8, 0) + 120) * interval '1 second'
