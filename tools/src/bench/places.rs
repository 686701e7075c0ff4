//! Where a demonstration's gateway and device are, as its directory says.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) gateway: Option<String>,
    pub(super) api_key_file: Option<PathBuf>,
    pub(super) device: Option<String>,
}

impl Places {
    /// Any may be absent: the directory of another cluster knows only its nodes.
    pub(super) fn of(dir: &Path) -> Result<Self> {
        let key = dir.join("api-key");
        Ok(Self {
            gateway: line(&dir.join("gateway/url"))?,
            api_key_file: key.exists().then_some(key),
            device: line(&dir.join("device-proxy/addr"))?,
        })
    }
}

fn line(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}
