-- A hundred sensors at ten sites: what each site measured in the last ten minutes, every minute.
CREATE SOURCE readings (
  sensor_id TEXT, site TEXT, temperature DOUBLE, humidity DOUBLE, battery DOUBLE, measured_at TIMESTAMP WITH TIME ZONE,
  WATERMARK FOR measured_at AS measured_at - INTERVAL '5' SECOND
) WITH (connector = 'generator', events = 'sensors');

SELECT site, window_end AS until, count(DISTINCT sensor_id) AS sensors, count(*) AS readings,
  round(min(temperature), 1) AS coldest, round(avg(temperature), 1) AS average, round(max(temperature), 1) AS hottest,
  round(min(battery), 2) AS weakest_battery
FROM HOP(TABLE readings, DESCRIPTOR(measured_at), INTERVAL '1' MINUTE, INTERVAL '10' MINUTE)
GROUP BY site, window_start, window_end;
