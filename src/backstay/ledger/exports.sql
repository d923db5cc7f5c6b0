-- name: csv
-- What a spreadsheet would run as a formula gets a quote in front of it.
select to_char(at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at, trace_id, call_id, attempt, key_id,
       regexp_replace(user_id, '^([=+@\t\r-])', '''\1') as user,
       regexp_replace(feature, '^([=+@\t\r-])', '''\1') as feature,
       regexp_replace(array_to_string(tags, ','), '^([=+@\t\r-])', '''\1') as tags, model, target, input_tokens,
       output_tokens, cost_nanousd * 0.000000001 as cost_usd, estimated, unconfirmed, unused, price_source, lines
from ledger_entries
where tenant_id = %(tenant_id)s and at >= %(since)s and at < %(until)s
  and (%(key_id)s::text is null or key_id = %(key_id)s)
order by at, call_id, attempt

-- name: focus
-- FOCUS 1.2, a row for each line of each attempt of known cost. Source: github.com/FinOps-Open-Cost-and-Usage-Spec,
-- FOCUS_Spec, tag v1.2, specification/columns (2025-05).
select cost as "BilledCost", tenant_id as "BillingAccountId", tenant_id as "BillingAccountName",
       'Tenant' as "BillingAccountType", 'USD' as "BillingCurrency",
       to_char(date_trunc('month', utc) + interval '1 month', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as "BillingPeriodEnd",
       to_char(date_trunc('month', utc), 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as "BillingPeriodStart",
       'Usage' as "ChargeCategory", null as "ChargeClass",
       model || ' at ' || target || ': ' || meter as "ChargeDescription", 'Usage-Based' as "ChargeFrequency",
       to_char(date_trunc('hour', utc) + interval '1 hour', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as "ChargePeriodEnd",
       to_char(date_trunc('hour', utc), 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as "ChargePeriodStart",
       quantity as "ConsumedQuantity", measure as "ConsumedUnit", cost as "ContractedCost",
       price as "ContractedUnitPrice", cost as "EffectiveCost", null as "InvoiceId", vendor as "InvoiceIssuerName",
       cost as "ListCost", price as "ListUnitPrice", 'Standard' as "PricingCategory", 'USD' as "PricingCurrency",
       quantity as "PricingQuantity", measure as "PricingUnit", vendor as "ProviderName", vendor as "PublisherName",
       trace_id as "ResourceId", null as "ResourceName", 'Trace' as "ResourceType",
       'AI and Machine Learning' as "ServiceCategory", target as "ServiceName",
       'Generative AI' as "ServiceSubcategory", target || '/' || unit as "SkuId", meter as "SkuMeter",
       target || '/' || unit || '@' || price as "SkuPriceId", key_id as "SubAccountId", null as "SubAccountName",
       case when key_id is not null then 'Key' end as "SubAccountType",
       jsonb_strip_nulls(jsonb_build_object('feature', feature, 'model', model, 'user', user_id)
         || coalesce((select jsonb_object_agg('tag:' || tag, true) from unnest(tags) as tag), '{}')) as "Tags",
       attempt as "x_Attempt", call_id as "x_CallId", estimated as "x_Estimated", price_source as "x_PriceSource",
       unused as "x_Unused"
from (
  select *, at at time zone 'utc' as utc, split_part(target, '/', 1) as vendor, amount * 0.000000001 as cost,
         case unit when 'requests_kcount' then 'Requests' when 'web_searches_kcount' then 'Searches'
                   when 'storage_searches_kcount' then 'Searches' else 'Tokens' end
           as measure,
         initcap(replace(regexp_replace(unit, '_(mtok|kcount)$', ''), '_', ' '))
           || case when unit like '%%_mtok' then ' Tokens' else '' end as meter
  from (
    select * from ledger_entries
    where tenant_id = %(tenant_id)s and at >= %(since)s and at < %(until)s and cost_nanousd is not null
      and (%(key_id)s::text is null or key_id = %(key_id)s)
    order by at, call_id, attempt
  ) entry
  cross join lateral (
    select unit, quantity, trim_scale(usd_per_million / 1000000) as price, amount_nanousd as amount
    from jsonb_to_recordset(lines) as line (unit text, quantity bigint, usd_per_million numeric, amount_nanousd bigint)
    union all
    select 'requests_kcount', 1, cost_nanousd * 0.000000001, cost_nanousd where lines = '[]'
  ) line
) charge
union all
-- What vendors' bills differ by from the ledger is no charge for usage: it has neither quantities nor prices.
select cost, tenant_id, tenant_id, 'Tenant', 'USD',
       to_char(date_trunc('month', utc) + interval '1 month', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       to_char(date_trunc('month', utc), 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       'Adjustment', null, 'Bill of ' || provider || ', ' || coalesce(model, 'no model') || ': beside the ledger',
       'One-Time', to_char(utc + interval '1 day', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       to_char(utc, 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
       null, null, cost, null, cost, null, provider, cost, null, null, 'USD', null, null, provider, provider,
       null, null, null, 'AI and Machine Learning', provider || coalesce('/' || model, ''), 'Generative AI', null, null,
       null, null, null, null, '{}', null, null, null, null, null
from (
  select *, day::timestamp as utc, (case when sink = 'cost' then amount else -amount end) * 0.000000001 as cost
  from ledger_adjustments
  where tenant_id = %(tenant_id)s and %(key_id)s::text is null
    and day::timestamp at time zone 'utc' >= %(since)s and day::timestamp at time zone 'utc' < %(until)s
) adjustment
