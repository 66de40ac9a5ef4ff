//! The paths of `include`, which may be glob patterns.

use std::path::{Component, Path, PathBuf};

use crate::types::glob::{self, Case};

/// Whether the text has a glob character at all.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// The existing paths that `pattern` names, sorted. As in a shell, a leading dot must be written out. Folders that
/// cannot be read count as empty.
pub fn existing(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        found = match component {
            Component::Normal(name) if is_pattern(&name.to_string_lossy()) => {
                found.iter().flat_map(|folder| entries(folder, &name.to_string_lossy())).collect()
            }
            fixed => found.into_iter().map(|folder| folder.join(fixed)).collect(),
        };
    }
    found.retain(|path| path.exists());
    found.sort();
    found
}

fn entries(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let read_from = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(listing) = std::fs::read_dir(read_from) else { return Vec::new() };
    let names = listing.flatten().map(|entry| entry.file_name());
    let wanted = names.filter(|name| {
        let name = name.as_encoded_bytes();
        let hidden = name.starts_with(b".") && !pattern.starts_with('.');
        !hidden && glob::matches(pattern.as_bytes(), name, Case::Sensitive)
    });
    wanted.map(|name| folder.join(name)).collect()
}
