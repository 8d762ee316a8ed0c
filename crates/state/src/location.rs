//! Where state is kept: a local folder or a prefix of an S3-compatible bucket.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::StateError;

/// A place for checkpoints or a savepoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// A folder of the local file system, absolute.
    Folder(PathBuf),
    /// `s3://bucket/prefix`; endpoint, keys, region and `allow_http` come from the `AWS_*` environment variables.
    /// The prefix has no slash at either end and may be empty.
    S3 { bucket: String, prefix: String },
}

impl StoreLocation {
    /// Reads a path, a `file://` URL or an `s3://bucket/prefix` URL.
    ///
    /// # Errors
    /// `FixRequest` for an empty text, another scheme, or a URL without a bucket.
    pub fn parse(text: &str) -> Result<Self, StateError> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(StateError::request(format!("'{text}' names no bucket; write s3://bucket/prefix")));
            }
            return Ok(Self::S3 { bucket: bucket.into(), prefix: clean_prefix(text, prefix)? });
        }
        if let Some(rest) = text.strip_prefix("file://") {
            if !rest.starts_with('/') {
                return Err(StateError::request(format!("'{text}' is not a local path; write file:///absolute/path")));
            }
            return Self::folder(percent_decoded(rest)?);
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(StateError::request(format!(
                "state cannot be kept at '{text}': scheme '{scheme}' is unknown; use a folder or s3://bucket/prefix"
            )));
        }
        Self::folder(text.to_owned())
    }

    fn folder(path: String) -> Result<Self, StateError> {
        std::path::absolute(&path).map(Self::Folder).map_err(|_| {
            StateError::request(format!("'{path}' is not a usable path; name a folder or s3://bucket/prefix"))
        })
    }

    /// The place `name` below this one.
    pub fn join(&self, name: &str) -> Self {
        match self {
            Self::Folder(path) => Self::Folder(path.join(name)),
            Self::S3 { bucket, prefix } if prefix.is_empty() => {
                Self::S3 { bucket: bucket.clone(), prefix: name.into() }
            }
            Self::S3 { bucket, prefix } => Self::S3 { bucket: bucket.clone(), prefix: format!("{prefix}/{name}") },
        }
    }
}

fn clean_prefix(text: &str, prefix: &str) -> Result<String, StateError> {
    let prefix = prefix.trim_matches('/');
    if object_store::path::Path::parse(prefix).is_err() {
        return Err(StateError::request(format!(
            "the prefix of '{text}' has an empty part, '.', '..' or a control character; leave it out"
        )));
    }
    Ok(prefix.to_owned())
}

fn percent_decoded(text: &str) -> Result<String, StateError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let escaped = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = escaped {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).map_err(|_| StateError::request(format!("the path of 'file://{text}' is not UTF-8")))
}

impl FromStr for StoreLocation {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Self, StateError> {
        Self::parse(text)
    }
}

impl From<PathBuf> for StoreLocation {
    fn from(path: PathBuf) -> Self {
        Self::Folder(std::path::absolute(&path).unwrap_or(path))
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_and_shown() {
        for (text, shown) in [
            ("/tmp/a", "/tmp/a"),
            ("file:///tmp/a%20b", "/tmp/a b"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ] {
            assert_eq!(StoreLocation::parse(text).unwrap().to_string(), shown);
        }
        for (text, part) in [
            ("", "not a usable path"),
            ("gs://b/c", "scheme 'gs'"),
            ("s3:///x", "no bucket"),
            ("s3://b/a//c", "empty part"),
            ("file://host/x", "not a local path"),
        ] {
            let error = StoreLocation::parse(text).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn join_adds_one_part() {
        assert_eq!(StoreLocation::parse("s3://b").unwrap().join("x").to_string(), "s3://b/x");
        assert_eq!(StoreLocation::parse("s3://b/p").unwrap().join("x").to_string(), "s3://b/p/x");
        assert_eq!(StoreLocation::parse("/p").unwrap().join("x").to_string(), "/p/x");
    }
}
