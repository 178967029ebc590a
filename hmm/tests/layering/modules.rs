//! The modules of a crate, and what their names stand for.

use std::collections::{BTreeMap, BTreeSet};

use syn::punctuated::Punctuated;
use syn::{Attribute, Item, Meta, Token, UseTree, Visibility};

/// The sources of one crate.
pub(crate) struct Sources {
    /// The name by which the crate's binaries call its library.
    pub(crate) package: String,
    /// The text of each file, by its path below `src`.
    pub(crate) files: BTreeMap<String, String>,
}

/// The place of a module in [`Modules::all`].
pub(crate) type ModuleId = usize;

/// A path as it is written, segment by segment.
pub(crate) type Path = Vec<String>;

/// One module, tests left out.
pub(crate) struct Module {
    pub(crate) file: String,
    parent: Option<ModuleId>,
    children: BTreeMap<String, ModuleId>,
    /// The names that the module defines itself.
    items: BTreeSet<String>,
    /// The paths that `use` brings in, under the names that they have here.
    imports: BTreeMap<String, Path>,
    /// The paths of `use path::*`.
    globs: Vec<Path>,
    /// The imports that are no re-exports.
    pub(crate) private_imports: Vec<Path>,
    /// The code itself, for a second look.
    pub(crate) code: Vec<Item>,
}

/// The target of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Module(ModuleId),
    /// Something that this file defines.
    Item(String),
}

/// All modules of a crate.
pub(crate) struct Modules {
    pub(crate) all: Vec<Module>,
    /// The root of the library, if there is one, and its name.
    library: Option<(String, ModuleId)>,
}

impl Modules {
    /// Reads the trees of modules below `lib.rs`, `main.rs` and the files of `bin`.
    pub(crate) fn read(sources: &Sources) -> Self {
        let mut modules = Self { all: Vec::new(), library: None };
        for path in sources.files.keys().filter(|path| is_root(path)) {
            let root = modules.read_file(sources, path, None);
            if path == "lib.rs" {
                modules.library = Some((sources.package.clone(), root));
            }
        }
        modules
    }

    fn read_file(&mut self, sources: &Sources, path: &str, parent: Option<ModuleId>) -> ModuleId {
        let text = sources.files.get(path).unwrap_or_else(|| panic!("there is no {path}"));
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        self.add(sources, path, &folder_of_children(path), parent, file.items)
    }

    /// Adds a module with what is below it. Out-of-line children lie in `folder`.
    fn add(
        &mut self,
        sources: &Sources,
        path: &str,
        folder: &str,
        parent: Option<ModuleId>,
        code: Vec<Item>,
    ) -> ModuleId {
        let id = self.all.len();
        self.all.push(Module::new(path, parent));
        let code = code.into_iter().filter(|item| !is_test(attributes(item)));
        let is_module = |item: &Item| matches!(item, Item::Mod(_));
        let (modules, code): (Vec<_>, Vec<_>) = code.partition(is_module);
        for item in modules {
            let Item::Mod(item) = item else { continue };
            let name = item.ident.to_string();
            let below = format!("{folder}{name}/");
            let child = match item.content {
                Some((_, code)) => self.add(sources, path, &below, Some(id), code),
                None => {
                    let own = path_attribute(&item.attrs).map(|file| format!("{folder}{file}"));
                    let file = own.into_iter().chain([format!("{folder}{name}.rs")]);
                    let file = file.chain([format!("{below}mod.rs")]);
                    let file = file.into_iter().find(|file| sources.files.contains_key(file));
                    let file = file.unwrap_or_else(|| panic!("{path}: no file for mod {name}"));
                    self.read_file(sources, &file, Some(id))
                }
            };
            self.all[id].children.insert(name, child);
        }
        code.iter().for_each(|item| self.all[id].enter(item));
        self.all[id].code = code;
        id
    }

    /// Follows a path from a module to what it names, through re-exports; `None` if it leaves the
    /// crate.
    pub(crate) fn resolve(&self, from: ModuleId, path: &[String]) -> Option<Target> {
        self.follow(from, path, &mut BTreeSet::new())
    }

    fn follow(
        &self,
        from: ModuleId,
        path: &[String],
        seen: &mut BTreeSet<(ModuleId, String)>,
    ) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let mut target = match first.as_str() {
            "crate" | "$crate" => Target::Module(self.root_of(from)),
            "self" => Target::Module(from),
            "super" => Target::Module(self.all[from].parent?),
            name => match &self.library {
                Some((library, root)) if library == name => Target::Module(*root),
                _ => self.lookup(from, name, seen)?,
            },
        };
        for name in rest {
            target = match (target, name.as_str()) {
                (Target::Module(module), "super") => Target::Module(self.all[module].parent?),
                (Target::Module(module), "self") => Target::Module(module),
                (Target::Module(module), name) => self.lookup(module, name, seen)?,
                (item, _) => item,
            };
        }
        Some(target)
    }

    /// Looks up the target of a name in a module.
    fn lookup(
        &self,
        module: ModuleId,
        name: &str,
        seen: &mut BTreeSet<(ModuleId, String)>,
    ) -> Option<Target> {
        let here = &self.all[module];
        if here.items.contains(name) {
            return Some(Target::Item(here.file.clone()));
        }
        if let Some(&child) = here.children.get(name) {
            return Some(Target::Module(child));
        }
        if !seen.insert((module, name.to_owned())) {
            return None;
        }
        if let Some(import) = here.imports.get(name) {
            return self.follow(module, import, seen);
        }
        here.globs.iter().find_map(|glob| match self.follow(module, glob, seen)? {
            Target::Module(other) if other != module => self.lookup(other, name, seen),
            _ => None,
        })
    }

    fn root_of(&self, mut module: ModuleId) -> ModuleId {
        while let Some(parent) = self.all[module].parent {
            module = parent;
        }
        module
    }
}

impl Module {
    fn new(path: &str, parent: Option<ModuleId>) -> Self {
        Self {
            file: path.to_owned(),
            parent,
            children: BTreeMap::new(),
            items: BTreeSet::new(),
            imports: BTreeMap::new(),
            globs: Vec::new(),
            private_imports: Vec::new(),
            code: Vec::new(),
        }
    }

    fn enter(&mut self, item: &Item) {
        if let Item::Use(item) = item {
            self.import(&item.tree, matches!(item.vis, Visibility::Inherited));
        }
        self.items.extend(name_of(item));
    }

    /// Enters what a `use` brings in.
    pub(crate) fn import(&mut self, tree: &UseTree, private: bool) {
        let mut found = Vec::new();
        flatten(tree, &mut Vec::new(), &mut found);
        for (name, path) in found {
            if private {
                self.private_imports.push(path.clone());
            }
            match name {
                Some(name) => drop(self.imports.insert(name, path)),
                None => self.globs.push(path),
            }
        }
    }
}

/// Lists what a tree of `use` names: the name that it gets, none for `*`, and the path.
fn flatten(tree: &UseTree, before: &mut Path, found: &mut Vec<(Option<String>, Path)>) {
    let joined = |before: &Path, name: &str| {
        let mut path = before.clone();
        path.extend((name != "self").then(|| name.to_owned()));
        path
    };
    match tree {
        UseTree::Path(part) => {
            before.push(part.ident.to_string());
            flatten(&part.tree, before, found);
            before.pop();
        }
        UseTree::Name(last) => {
            let path = joined(before, &last.ident.to_string());
            found.push((path.last().cloned(), path));
        }
        UseTree::Rename(last) => {
            let path = joined(before, &last.ident.to_string());
            found.push((Some(last.rename.to_string()), path));
        }
        UseTree::Glob(_) => found.push((None, before.clone())),
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| flatten(tree, before, found));
        }
    }
}

fn is_root(path: &str) -> bool {
    let in_bin = path.strip_prefix("bin/");
    let is_bin = in_bin.is_some_and(|rest| !rest.contains('/') || rest.ends_with("/main.rs"));
    matches!(path, "lib.rs" | "main.rs") || is_bin
}

fn folder_of_children(path: &str) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => folder,
        _ if is_root(path) => folder,
        name => format!("{folder}{}/", name.trim_end_matches(".rs")),
    }
}

fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Tells whether code is there in tests only.
pub(crate) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let excludes = || attribute.parse_args().is_ok_and(|condition| !holds(&condition));
        path.is_ident("test") || path.is_ident("cfg") && excludes()
    })
}

/// Tells whether a condition of `cfg` can hold outside of tests.
fn holds(condition: &Meta) -> bool {
    let parts = |list: &syn::MetaList| {
        list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).unwrap_or_default()
    };
    match condition {
        Meta::List(list) if list.path.is_ident("all") => parts(list).iter().all(holds),
        Meta::List(list) if list.path.is_ident("any") => parts(list).iter().any(holds),
        Meta::Path(path) => !path.is_ident("test") && !path.is_ident("doctest"),
        _ => true,
    }
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.path().is_ident("path"))?;
    let Meta::NameValue(value) = &attribute.meta else { return None };
    let syn::Expr::Lit(literal) = &value.value else { return None };
    let syn::Lit::Str(text) = &literal.lit else { return None };
    Some(text.value())
}
