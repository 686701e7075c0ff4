//! What cargo knows: the members, the edges between them, the third-party crates, and the closures of
//! single packages with the features that they really get.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The platform whose binary is shipped; crates that only other platforms need are no part of it.
pub(crate) const SHIPPED_TARGET: &str = "x86_64-unknown-linux-gnu";

/// The packages of the workspace and of its lock file.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    pub(crate) members: Vec<Member>,
    pub(crate) third_party: Vec<ThirdParty>,
}

/// A package of this repository.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Relative to the root, with `/`.
    pub(crate) folder: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// A declared edge between two members; optional and platform-specific ones count.
#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) dev: bool,
    /// Where the manifest names it, counted from 1; 0 when it is not found.
    pub(crate) line: usize,
}

/// A package that somebody else wrote.
#[derive(Debug)]
pub(crate) struct ThirdParty {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The SPDX expression of its manifest.
    pub(crate) licence: Option<String>,
}

/// A package in the closure of another, with its resolved features.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Resolved {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) features: Vec<String>,
}

/// The root of the repository, from the place where this crate was compiled.
pub(crate) fn root() -> Result<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`")?;
    let root = Path::new(&here).ancestors().nth(2).context("tools/xtask lies two folders deep")?;
    Ok(root.to_owned())
}

/// Reads members and third-party packages from `cargo metadata`.
pub(crate) fn read(root: &Path) -> Result<Workspace> {
    let text = cargo(root, &["metadata", "--format-version", "1", "--locked"])?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
    parse_metadata(root, &metadata, |manifest| {
        std::fs::read_to_string(manifest).with_context(|| format!("reading {manifest}"))
    })
}

/// The normal dependencies of one package alone, as they are resolved for it on `target`: what other
/// members ask of the same crates does not show. Procedural macros run in the compiler and are left out.
pub(crate) fn closure(root: &Path, package: &str, target: &str) -> Result<Vec<Resolved>> {
    let tree = cargo(
        root,
        &[
            "tree",
            "--locked",
            "--package",
            package,
            "--edges",
            "normal,no-proc-macro",
            "--target",
            target,
            "--prefix",
            "none",
            "--format",
            "{p}|{f}",
        ],
    )?;
    parse_tree(&tree)
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<String> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output()
        .with_context(|| format!("starting cargo {}", arguments.join(" ")))?;
    if !output.status.success() {
        bail!("cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).context("cargo printed something that is not UTF-8")
}

fn parse_metadata(
    root: &Path,
    metadata: &Value,
    manifest_text: impl Fn(&str) -> Result<String>,
) -> Result<Workspace> {
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let mut workspace = Workspace::default();
    for package in packages {
        let name = text(package, "name")?;
        if package["source"].is_string() {
            workspace.third_party.push(ThirdParty {
                name,
                version: text(package, "version")?,
                licence: package["license"].as_str().map(str::to_owned),
            });
            continue;
        }
        let manifest = text(package, "manifest_path")?;
        let folder = Path::new(&manifest)
            .parent()
            .and_then(|folder| folder.strip_prefix(root).ok())
            .with_context(|| format!("{manifest} lies outside the repository"))?;
        let source = manifest_text(&manifest)?;
        let declared = package["dependencies"].as_array().context("a package has no edges")?;
        let mut dependencies = Vec::new();
        for dependency in declared.iter().filter(|d| d["path"].is_string()) {
            let name = text(dependency, "name")?;
            let dev = dependency["kind"] == "dev";
            let line = manifest_line(&source, &name);
            dependencies.push(Dependency { name, dev, line });
        }
        let folder = folder.to_string_lossy().replace('\\', "/");
        workspace.members.push(Member { name, folder, dependencies });
    }
    Ok(workspace)
}

fn text(value: &Value, key: &str) -> Result<String> {
    Ok(value[key].as_str().with_context(|| format!("cargo metadata lacks {key}"))?.to_owned())
}

/// The line of a manifest that declares `name`, counted from 1; 0 when there is none.
fn manifest_line(manifest: &str, name: &str) -> usize {
    let declares = |line: &str| {
        line.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    manifest.lines().position(declares).map_or(0, |index| index + 1)
}

fn parse_tree(tree: &str) -> Result<Vec<Resolved>> {
    let mut packages = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let line = line.strip_suffix(" (*)").unwrap_or(line);
        let (package, features) =
            line.split_once('|').with_context(|| format!("cargo tree printed {line}"))?;
        let mut words = package.split(' ');
        let (Some(name), Some(version)) = (words.next(), words.next()) else {
            bail!("cargo tree printed {line}");
        };
        packages.push(Resolved {
            name: name.to_owned(),
            version: version.trim_start_matches('v').to_owned(),
            features: features.split(',').filter(|f| !f.is_empty()).map(str::to_owned).collect(),
        });
    }
    packages.sort();
    packages.dedup();
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_gives_members_edges_and_strangers() {
        let metadata = serde_json::json!({"packages": [
            {"name": "fiscus-raft", "version": "0.1.0", "source": null, "license": "Apache-2.0",
             "manifest_path": "/r/raft/Cargo.toml", "dependencies": [
                {"name": "fiscus-ledger", "kind": null, "path": "/r/ledger"},
                {"name": "fiscus-proto", "kind": "dev", "path": "/r/proto"},
                {"name": "tokio", "kind": null}]},
            {"name": "tokio", "version": "1.0.0", "source": "registry+x", "license": "MIT",
             "manifest_path": "/c/tokio/Cargo.toml", "dependencies": []}]});
        let manifest = "[dependencies]\nfiscus-ledger.workspace = true\n";
        let workspace =
            parse_metadata(Path::new("/r"), &metadata, |_| Ok(manifest.to_owned())).unwrap();
        let [member] = workspace.members.as_slice() else { panic!("one member is ours") };
        assert_eq!((member.name.as_str(), member.folder.as_str()), ("fiscus-raft", "raft"));
        let edges: Vec<_> =
            member.dependencies.iter().map(|d| (d.name.as_str(), d.dev, d.line)).collect();
        assert_eq!(edges, [("fiscus-ledger", false, 2), ("fiscus-proto", true, 0)]);
        let [stranger] = workspace.third_party.as_slice() else { panic!("one is a stranger") };
        assert_eq!(stranger.licence.as_deref(), Some("MIT"));
    }

    #[test]
    fn a_tree_is_read_once_per_package() {
        let tree = "a v0.1.0 (/w/a)|\nsha2 v0.11.1|alloc,default\nsha2 v0.11.1|alloc,default (*)\n";
        let packages = parse_tree(tree).unwrap();
        assert_eq!(packages.len(), 2);
        assert_eq!(packages[1].features, ["alloc", "default"]);
        assert!(parse_tree("not a tree").is_err());
    }
}
