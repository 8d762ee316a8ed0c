-- A week of earthquakes, as the feed delivered them: an event arrives when it was last revised, minutes or days after
-- the ground shook. The watermark waits three days for stragglers; what comes later is counted as late.

CREATE SOURCE earthquakes (
  id TEXT, occurred_at TIMESTAMP WITH TIME ZONE, updated_at TIMESTAMP WITH TIME ZONE,
  magnitude DOUBLE, magnitude_type TEXT, place TEXT, longitude DOUBLE, latitude DOUBLE, depth_km DOUBLE,
  network TEXT, significance BIGINT, status TEXT, type TEXT,
  -- '6km SE of Hualian, Taiwan' -> 'Taiwan'
  region TEXT GENERATED ALWAYS AS (trim(regexp_replace(place, '^.*,', ''))) STORED,
  WATERMARK FOR occurred_at AS occurred_at - INTERVAL '3' DAY
) WITH (
  connector = 'files', path = 'examples/earthquakes/feed/*.ndjson', format = 'ndjson',
  on_error = 'dlq', dlq = 'rejected'
);

-- Rows that could not be read, with their bytes, file, line and the reason.
CREATE SINK rejected WITH (connector = 'files', path = 'out/rejected', format = 'ndjson');

-- What each network saw in every six hours.
CREATE SINK activity WITH (connector = 'files', path = 'out/activity', format = 'ndjson') AS
SELECT network, window_start, window_end,
  count(*) AS events, max(magnitude) AS strongest, count(*) FILTER (WHERE magnitude >= 4.5) AS felt_widely
FROM TUMBLE(TABLE earthquakes, DESCRIPTOR(occurred_at), INTERVAL '6' HOUR)
WHERE type = 'earthquake'
GROUP BY network, window_start, window_end;

-- Swarms and aftershocks: shocks of one region with less than two hours of quiet between them, five or more.
CREATE SINK swarms WITH (connector = 'files', path = 'out/swarms', format = 'ndjson') AS
SELECT region, window_start, window_end, shocks, strongest
FROM (
  SELECT region, window_start, window_end, count(*) AS shocks, max(magnitude) AS strongest
  FROM SESSION(TABLE earthquakes PARTITION BY region, DESCRIPTOR(occurred_at), INTERVAL '2' HOUR)
  WHERE type = 'earthquake'
  GROUP BY region, window_start, window_end
)
WHERE shocks >= 5;

-- Strong ones at once, without waiting for any window.
CREATE SINK strong WITH (connector = 'files', path = 'out/strong', format = 'ndjson') AS
SELECT id, occurred_at, magnitude, place, depth_km
FROM earthquakes
WHERE magnitude >= 5.5;
