-- How late does each airport run, day by day? And which flights kept people waiting longest?

CREATE SOURCE flights (
  departed_at TIMESTAMP WITH TIME ZONE, origin TEXT, destination TEXT, delay_minutes BIGINT, distance_miles BIGINT,
  WATERMARK FOR departed_at AS departed_at - INTERVAL '1' HOUR
) WITH (connector = 'files', path = 'examples/flights/flights.ndjson', format = 'ndjson');

CREATE SINK daily_delays WITH (connector = 'files', path = 'out/daily_delays', format = 'ndjson') AS
SELECT origin, window_start, window_end, count(*) AS flights, avg(delay_minutes) AS average_delay
FROM TUMBLE(TABLE flights, DESCRIPTOR(departed_at), INTERVAL '1' DAY)
GROUP BY origin, window_start, window_end;

CREATE SINK long_waits WITH (connector = 'files', path = 'out/long_waits', format = 'ndjson') AS
SELECT departed_at, origin, destination, delay_minutes
FROM flights
WHERE delay_minutes >= 180;
