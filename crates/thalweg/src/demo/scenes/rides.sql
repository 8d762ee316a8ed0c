-- A city's rides, a day in a few minutes: every minute, the requests of the last five against the drivers that were free.
CREATE SOURCE requests (
  rider_id BIGINT, zone TEXT, requested_at TIMESTAMP WITH TIME ZONE,
  WATERMARK FOR requested_at AS requested_at - INTERVAL '20' SECOND
) WITH (connector = 'generator', events = 'rides', type = 'requests');

CREATE SOURCE drivers (
  driver_id BIGINT, zone TEXT, status TEXT, pinged_at TIMESTAMP WITH TIME ZONE,
  WATERMARK FOR pinged_at AS pinged_at - INTERVAL '20' SECOND
) WITH (connector = 'generator', events = 'rides', type = 'drivers');

CREATE VIEW city AS
SELECT zone, requested_at AS happened_at, rider_id AS rider, CAST(NULL AS BIGINT) AS driver FROM requests
UNION ALL
SELECT zone, pinged_at AS happened_at, CAST(NULL AS BIGINT) AS rider, driver_id AS driver FROM drivers WHERE status = 'free';

CREATE VIEW balance AS
SELECT zone, window_start, window_end, count(rider) AS demand, count(DISTINCT driver) AS supply
FROM HOP(TABLE city, DESCRIPTOR(happened_at), INTERVAL '1' MINUTE, INTERVAL '5' MINUTE)
GROUP BY zone, window_start, window_end;

SELECT zone, window_end AS priced_at, demand, supply,
  CASE
    WHEN supply = 0 THEN 3.0
    ELSE least(3.0, greatest(1.0, round(CAST(demand AS DOUBLE) / (10 * supply), 2)))
  END AS surge
FROM balance;
