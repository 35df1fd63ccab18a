//! Fetches an image with skopeo, which speaks to registries so that sbx need not.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::{ImageError, io_words};
use super::import::{self, Progress};
use super::layer::Bounds;
use super::name;
use super::store::{Record, Store};

/// Where skopeo is looked for: never in `PATH`.
const PLACES: [&str; 2] = ["/usr/bin/skopeo", "/usr/local/bin/skopeo"];
/// What skopeo is told of the caller's environment: where credentials are, and the way out.
const KEPT: [&str; 12] = [
    "HOME",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "REGISTRY_AUTH_FILE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];
/// What the names of skopeo's ways to an image end with.
const TRANSPORTS: [&str; 6] =
    ["docker:", "oci:", "oci-archive:", "docker-archive:", "dir:", "containers-storage:"];

/// Fetches an image, and imports it.
///
/// # Errors
/// [`ImageError`]: there is no skopeo, it failed, or what came is refused.
pub fn pull(
    store: &Store,
    reference: &str,
    typed: Option<&str>,
    bounds: Bounds,
    environment: &[(OsString, OsString)],
    progress: &mut dyn FnMut(Progress),
) -> Result<Record, ImageError> {
    let wrong = |why: String, hint: Option<&str>| ImageError::Pull {
        reference: reference.to_owned(),
        why,
        hint: hint.map(str::to_owned),
    };
    let name = match typed {
        Some(typed) => name::full(typed)?,
        None => own_name(reference).ok_or_else(|| {
            wrong("no name comes of it".to_owned(), Some("give it one: sbx image pull REFERENCE NAME"))
        })?,
    };
    let skopeo = PLACES.into_iter().find(|place| Path::new(place).is_file());
    let skopeo = skopeo.ok_or_else(|| wrong("skopeo is not installed".to_owned(), Some("install skopeo")))?;
    let lock = store.lock()?;
    store.sweep(&lock);
    let making = store.making(&lock)?;
    drop(lock);
    let fetched = making.path.join("fetched");
    let mut to = OsString::from("oci:");
    to.push(&fetched);
    to.push(":fetched");
    let kept = environment.iter().filter(|(name, _)| KEPT.iter().any(|kept| name == kept));
    let output = Command::new(skopeo)
        .args(["copy", "--quiet"])
        .arg(source(reference))
        .arg(to)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(kept.map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| wrong(format!("skopeo can't be started: {}", io_words(&error)), None))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().last().unwrap_or("nothing");
        return Err(wrong(format!("skopeo says: {}", crate::diag::escape(last)), None));
    }
    import::import(store, &fetched, Some(&name), bounds, progress)
}

/// What skopeo calls it: an image of a registry's unless it says otherwise.
fn source(reference: &str) -> String {
    if TRANSPORTS.iter().any(|transport| reference.starts_with(transport)) {
        reference.to_owned()
    } else {
        format!("docker://{reference}")
    }
}

/// What it is called here: as in the registry, or by the last part of a path.
fn own_name(reference: &str) -> Option<String> {
    let transport =
        TRANSPORTS.iter().find_map(|transport| Some((*transport, reference.strip_prefix(transport)?)));
    let name = match transport {
        None => reference,
        Some(("docker:", rest)) => rest.trim_start_matches('/'),
        Some((_, rest)) => rest.rsplit('/').next().unwrap_or_default(),
    };
    // What is named by its digest alone has no tag to be called by.
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    name::full(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_names() {
        for (reference, wanted, name) in [
            ("debian:13", "docker://debian:13", Some("debian:13")),
            ("docker://example.org/a/b", "docker://example.org/a/b", Some("example.org/a/b:latest")),
            ("oci:/tmp/here:tag", "oci:/tmp/here:tag", Some("here:tag")),
            (
                "example.org:5000/a@sha256:00",
                "docker://example.org:5000/a@sha256:00",
                Some("example.org:5000/a:latest"),
            ),
            ("--help", "docker://--help", None),
            ("", "docker://", None),
        ] {
            assert_eq!(
                (source(reference).as_str(), own_name(reference).as_deref()),
                (wanted, name),
                "{reference}"
            );
        }
    }
}
