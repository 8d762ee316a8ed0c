-- Three months of US flights, replayed: how has each airport kept its times in the last seven days?
CREATE SOURCE flights (
  departed_at TIMESTAMP WITH TIME ZONE, origin TEXT, destination TEXT, delay_minutes BIGINT, distance_miles BIGINT,
  WATERMARK FOR departed_at AS departed_at - INTERVAL '1' HOUR
) WITH (connector = 'files', path = 'embedded', format = 'ndjson');

SELECT origin, window_end AS week_to, count(*) AS flights,
  round(avg(delay_minutes), 1) AS average_delay, max(delay_minutes) AS longest_delay
FROM HOP(TABLE flights, DESCRIPTOR(departed_at), INTERVAL '12' HOUR, INTERVAL '7' DAY)
GROUP BY origin, window_start, window_end;
