//! The tree of folders: names as they are now, names that are durable, and the changes between the two.
//!
//! Invariant: the changes of one name reach the disk in their order or not at all; those of different names are
//! independent. A rename is one change of two names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};

use super::crash::Fate;

/// A file, whatever it is called.
pub(super) type FileId = u64;

/// A folder, whatever it is called.
pub(super) type FolderId = u64;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File(FileId),
    Folder(FolderId),
}

#[derive(Debug, Clone, Default)]
struct Folder {
    now: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
}

/// A name that stands for something else than before.
#[derive(Debug, Clone)]
struct Rebound {
    folder: FolderId,
    name: String,
    old: Option<Node>,
    new: Option<Node>,
}

/// Names that change together.
#[derive(Debug, Clone)]
struct Change {
    operation: u64,
    names: Vec<Rebound>,
    /// A sync that was to make it durable has failed.
    given_up: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Names {
    folders: BTreeMap<FolderId, Folder>,
    /// Not durable, oldest first.
    changes: Vec<Change>,
    next_folder: FolderId,
}

const ROOT: FolderId = 0;

impl Names {
    /// A root without anything.
    pub(super) fn new() -> Names {
        let folders = BTreeMap::from([(ROOT, Folder::default())]);
        Names { folders, changes: Vec::new(), next_folder: ROOT + 1 }
    }

    /// What is at `path`.
    pub(super) fn find(&self, path: &str) -> Option<Node> {
        let mut node = Node::Folder(ROOT);
        for part in parts(path) {
            let Node::Folder(folder) = node else { return None };
            node = *self.folders[&folder].now.get(part)?;
        }
        Some(node)
    }

    /// The file at `path`.
    pub(super) fn file(&self, path: &str) -> io::Result<FileId> {
        match self.find(path) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Folder(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// The names in a folder.
    pub(super) fn list(&self, path: &str) -> io::Result<Vec<(String, Node)>> {
        match self.find(path) {
            Some(Node::Folder(folder)) => {
                Ok(self.folders[&folder].now.iter().map(|(name, node)| (name.clone(), *node)).collect())
            }
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// Gives the name `path` to a new file.
    pub(super) fn link(&mut self, path: &str, file: FileId, operation: u64) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        if self.folders[&folder].now.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.change(operation, vec![(folder, name, Some(Node::File(file)))]);
        Ok(())
    }

    /// Makes a folder and those above it.
    pub(super) fn create_folder(&mut self, path: &str, operation: u64) -> io::Result<()> {
        let mut above = ROOT;
        for part in parts(path) {
            above = match self.folders[&above].now.get(part) {
                Some(Node::Folder(folder)) => *folder,
                Some(Node::File(_)) => return Err(ErrorKind::AlreadyExists.into()),
                None => {
                    let folder = self.next_folder;
                    self.next_folder += 1;
                    self.folders.insert(folder, Folder::default());
                    self.change(operation, vec![(above, part.to_owned(), Some(Node::Folder(folder)))]);
                    folder
                }
            };
        }
        Ok(())
    }

    /// Renames; says which file lost its name by that.
    pub(super) fn rename(&mut self, from: &str, to: &str, operation: u64) -> io::Result<Option<FileId>> {
        let node = self.find(from).ok_or(ErrorKind::NotFound)?;
        let (old_folder, old_name) = self.place(from)?;
        let (new_folder, new_name) = self.place(to)?;
        let replaced = match (self.find(to), node) {
            (None, _) => None,
            (Some(same), _) if same == node => return Ok(None),
            (Some(Node::File(file)), Node::File(_)) => Some(file),
            (Some(_), _) => return Err(ErrorKind::AlreadyExists.into()),
        };
        self.change(operation, vec![(old_folder, old_name, None), (new_folder, new_name, Some(node))]);
        Ok(replaced)
    }

    /// Takes the name of the file away.
    pub(super) fn unlink(&mut self, path: &str, operation: u64) -> io::Result<FileId> {
        let file = self.file(path)?;
        let (folder, name) = self.place(path)?;
        self.change(operation, vec![(folder, name, None)]);
        Ok(file)
    }

    /// Takes away all names below the folder and its own, one by one; says which files lost theirs.
    pub(super) fn remove_folder(&mut self, path: &str, operation: u64) -> io::Result<Vec<FileId>> {
        let mut removed = Vec::new();
        for (name, node) in self.list(path)? {
            let below = format!("{path}/{name}");
            match node {
                Node::File(_) => removed.push(self.unlink(&below, operation)?),
                Node::Folder(_) => removed.extend(self.remove_folder(&below, operation)?),
            }
        }
        let (folder, name) = self.place(path)?;
        self.change(operation, vec![(folder, name, None)]);
        Ok(removed)
    }

    /// Makes the names in a folder durable, with the other half of renames from and to it; or gives them up.
    pub(super) fn sync(&mut self, path: &str, succeeds: bool) -> io::Result<()> {
        let Some(Node::Folder(folder)) = self.find(path) else { return Err(ErrorKind::NotFound.into()) };
        let mut folders = BTreeSet::from([folder]);
        while let Some(more) = self.changes.iter().find(|change| change.is_half_in(&folders)) {
            folders.extend(more.names.iter().map(|name| name.folder));
        }
        for change in &mut self.changes {
            change.given_up |= !succeeds && change.is_in(&folders);
        }
        if succeeds {
            let done = self.changes.extract_if(.., |change| change.is_in(&folders) && !change.given_up);
            let done: Vec<Change> = done.collect();
            done.iter().for_each(|change| change.apply(&mut self.folders));
        }
        Ok(())
    }

    /// The operations whose changes are not durable.
    pub(super) fn pending(&self) -> impl Iterator<Item = u64> {
        self.changes.iter().map(|change| change.operation)
    }

    /// Whether a crash may give the file a name again.
    pub(super) fn may_return(&self, file: FileId) -> bool {
        let is_it = |name: &Rebound| [name.old, name.new].contains(&Some(Node::File(file)));
        self.changes.iter().any(|change| change.names.iter().any(is_it))
    }

    /// What is there after a crash, durable from then on.
    pub(super) fn after(&self, fate: &mut Fate) -> Names {
        let mut folders = self.folders.clone();
        let mut lost = BTreeSet::new();
        for change in &self.changes {
            let behind_a_lost_one = change.names.iter().any(|name| lost.contains(&(name.folder, &name.name)));
            if behind_a_lost_one || change.given_up || !fate.keeps(change.operation) {
                lost.extend(change.names.iter().map(|name| (name.folder, &name.name)));
            } else {
                change.apply(&mut folders);
            }
        }
        let mut reached = BTreeMap::new();
        let mut next = vec![ROOT];
        while let Some(id) = next.pop() {
            let Some(folder) = folders.remove(&id) else { continue };
            next.extend(folder.durable.values().filter_map(|node| match node {
                Node::Folder(below) => Some(*below),
                Node::File(_) => None,
            }));
            reached.insert(id, Folder { now: folder.durable.clone(), durable: folder.durable });
        }
        Names { folders: reached, changes: Vec::new(), next_folder: self.next_folder }
    }

    /// All files with their paths.
    pub(super) fn files(&self) -> Vec<(String, FileId)> {
        let mut files = Vec::new();
        let mut next = vec![(String::new(), ROOT)];
        while let Some((path, id)) = next.pop() {
            for (name, node) in &self.folders[&id].now {
                let below = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                match node {
                    Node::File(file) => files.push((below, *file)),
                    Node::Folder(folder) => next.push((below, *folder)),
                }
            }
        }
        files.sort();
        files
    }

    /// The folder of a path and the name in it.
    fn place(&self, path: &str) -> io::Result<(FolderId, String)> {
        let path = path.trim_end_matches('/');
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        match self.find(above) {
            Some(Node::Folder(folder)) if !name.is_empty() => Ok((folder, name.to_owned())),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    fn change(&mut self, operation: u64, names: Vec<(FolderId, String, Option<Node>)>) {
        let rebind = |(folder, name, new): (FolderId, String, Option<Node>)| {
            let now = &mut self.folders.get_mut(&folder).expect("invariant: a folder that was found").now;
            let old = match new {
                Some(node) => now.insert(name.clone(), node),
                None => now.remove(&name),
            };
            Rebound { folder, name, old, new }
        };
        let names = names.into_iter().map(rebind).collect();
        self.changes.push(Change { operation, names, given_up: false });
    }
}

impl Change {
    fn is_in(&self, folders: &BTreeSet<FolderId>) -> bool {
        self.names.iter().any(|name| folders.contains(&name.folder))
    }

    fn is_half_in(&self, folders: &BTreeSet<FolderId>) -> bool {
        self.is_in(folders) && self.names.iter().any(|name| !folders.contains(&name.folder))
    }

    fn apply(&self, folders: &mut BTreeMap<FolderId, Folder>) {
        for Rebound { folder, name, new, .. } in &self.names {
            let durable =
                &mut folders.get_mut(folder).expect("invariant: folders are never forgotten").durable;
            match new {
                Some(node) => durable.insert(name.clone(), *node),
                None => durable.remove(name),
            };
        }
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}
