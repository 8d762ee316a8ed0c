-- Dynamic pricing: what should a ride cost in each zone of a city right now? Every minute, the last five minutes of
-- requests are set against the drivers that were free in the same zone and time. One day, about 1.35 million rows.

CREATE SOURCE requests (
  request_id BIGINT, rider_id BIGINT, zone TEXT, distance_km DOUBLE, requested_at TIMESTAMP WITH TIME ZONE,
  WATERMARK FOR requested_at AS requested_at - INTERVAL '20' SECOND
) WITH (connector = 'generator', events = 'rides', type = 'requests', rows = '200000');

CREATE SOURCE drivers (
  driver_id BIGINT, zone TEXT, status TEXT, pinged_at TIMESTAMP WITH TIME ZONE,
  WATERMARK FOR pinged_at AS pinged_at - INTERVAL '20' SECOND
) WITH (connector = 'generator', events = 'rides', type = 'drivers', rows = '1152000');

-- Demand and supply as one stream: a row is a request or the ping of a free driver.
CREATE VIEW city AS
SELECT zone, requested_at AS happened_at, rider_id AS rider, CAST(NULL AS BIGINT) AS driver FROM requests
UNION ALL
SELECT zone, pinged_at AS happened_at, CAST(NULL AS BIGINT) AS rider, driver_id AS driver FROM drivers WHERE status = 'free';

CREATE VIEW balance AS
SELECT zone, window_start, window_end, count(rider) AS demand, count(DISTINCT driver) AS supply
FROM HOP(TABLE city, DESCRIPTOR(happened_at), INTERVAL '1' MINUTE, INTERVAL '5' MINUTE)
GROUP BY zone, window_start, window_end;

CREATE SINK prices WITH (connector = 'files', path = 'out/prices', format = 'ndjson') AS
SELECT zone, window_end AS priced_at, demand, supply,
  CASE
    WHEN supply = 0 THEN 3.0
    ELSE least(3.0, greatest(1.0, round(CAST(demand AS DOUBLE) / (2.5 * supply), 2)))
  END AS surge
FROM balance;

-- What riders asked for in each hour.
CREATE SINK hourly WITH (connector = 'files', path = 'out/hourly', format = 'ndjson') AS
SELECT zone, window_start, window_end, count(*) AS requests, avg(distance_km) AS average_km
FROM TUMBLE(TABLE requests, DESCRIPTOR(requested_at), INTERVAL '1' HOUR)
GROUP BY zone, window_start, window_end;
