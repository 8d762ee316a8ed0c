//! "Did you mean": the nearest of the names that exist.

/// The candidate that a mistyped `name` most likely stood for, if any is near enough.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let length = name.chars().count();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            // A third of the letters may be wrong, and never all of a short name.
            let longest = length.max(candidate.chars().count());
            *distance <= (longest / 3).max(1) && *distance < length.max(1)
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean 'x'?`, or the list of what exists if nothing is near and the list is short.
pub fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str> + Clone, what: &str) -> Option<String> {
    if let Some(near) = nearest(name, candidates.clone()) {
        return Some(format!("did you mean '{near}'?"));
    }
    let mut known: Vec<&str> = candidates.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    if known.is_empty() || known.len() > 12 {
        return None;
    }
    Some(format!("{what}: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest() {
        for (name, expect) in [
            ("fligts", Some("flights")),
            ("FLIGHTS", Some("flights")),
            ("zone", Some("zones")),
            ("a", None),
            ("departures", None),
        ] {
            assert_eq!(nearest(name, ["flights", "zones", "b"]), expect, "{name}");
        }
    }
}
