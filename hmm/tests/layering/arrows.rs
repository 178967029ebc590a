//! Arrows between the files of a crate: which file uses a name that which file defines.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{
    Attribute, ExprMethodCall, Ident, ImplItem, ImplItemFn, Item, ItemImpl, ItemMod, ItemUse,
    Macro, Stmt, Type,
};

use crate::modules::{Module, ModuleId, Modules, Path, Sources, Target, is_test};

/// The arrows between the files of a crate, each with one name that it is there for.
pub(crate) struct Arrows {
    pub(crate) files: BTreeSet<String>,
    arrows: BTreeMap<(String, String), String>,
}

impl Arrows {
    /// Reads them from the sources.
    pub(crate) fn of(sources: &Sources) -> Self {
        let mut modules = Modules::read(sources);
        let files = modules.all.iter().map(|module| module.file.clone()).collect();
        let mut found = Self { files, arrows: BTreeMap::new() };
        let uses: Vec<_> = modules.all.iter().map(Uses::of).collect();
        for (module, uses) in modules.all.iter_mut().zip(&uses) {
            uses.inner.iter().for_each(|item| module.import(&item.tree, true));
        }
        for (id, uses) in uses.iter().enumerate() {
            for path in modules.all[id].private_imports.iter().chain(&uses.paths) {
                if let Some(Target::Item(file)) = modules.resolve(id, path) {
                    found.add(&modules.all[id].file, file, path.join("::"));
                }
            }
        }
        found.add_split_types(&modules, &uses);
        found
    }

    fn add(&mut self, from: &str, to: String, why: String) {
        if from != to {
            self.arrows.entry((from.to_owned(), to)).or_insert(why);
        }
    }

    /// Adds an arrow from the file of a type to each file with methods of the type that the first
    /// file calls.
    fn add_split_types(&mut self, modules: &Modules, uses: &[Uses]) {
        let file_of = |id: ModuleId| modules.all[id].file.clone();
        let mut defined: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        let mut called: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for (id, uses) in uses.iter().enumerate() {
            let names = uses.methods.iter().flat_map(|(_, names)| names);
            defined.entry(file_of(id)).or_default().extend(names.map(String::as_str));
            let calls = uses.calls.iter().map(String::as_str);
            called.entry(file_of(id)).or_default().extend(calls);
        }
        for (id, uses) in uses.iter().enumerate() {
            for (of, methods) in &uses.methods {
                let Some(Target::Item(home)) = modules.resolve(id, of) else { continue };
                let is_split = |name: &&String| {
                    called[&home].contains(name.as_str()) && !defined[&home].contains(name.as_str())
                };
                if let Some(name) = methods.iter().find(is_split).filter(|_| home != file_of(id)) {
                    self.add(&home, file_of(id), format!("{}::{name}", of.join("::")));
                }
            }
        }
    }

    /// Every arrow, and the name that it is there for.
    pub(crate) fn all(&self) -> &BTreeMap<(String, String), String> {
        &self.arrows
    }
}

/// The names that a module uses.
#[derive(Default)]
struct Uses {
    paths: BTreeSet<Path>,
    /// Imports in functions.
    inner: Vec<ItemUse>,
    /// Methods that are called, by name alone.
    calls: BTreeSet<String>,
    /// The inherent methods of types, under the path of the type.
    methods: Vec<(Path, Vec<String>)>,
}

impl Uses {
    fn of(module: &Module) -> Self {
        let mut uses = Self::default();
        module.code.iter().for_each(|item| uses.visit_item(item));
        uses
    }

    /// Finds the paths in what is given to a macro.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path: Path = Vec::new();
        let mut colons = 0;
        let mut after_dot = false;
        for token in tokens {
            match &token {
                TokenTree::Ident(name) if after_dot => drop(self.calls.insert(name.to_string())),
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.note(std::mem::take(&mut path));
                    }
                    path.push(name.to_string());
                }
                TokenTree::Punct(sign) if sign.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => self.scan(group.stream()),
                _ => {}
            }
            after_dot = matches!(&token, TokenTree::Punct(sign) if sign.as_char() == '.');
            colons = 0;
            if !matches!(token, TokenTree::Ident(_)) {
                self.note(std::mem::take(&mut path));
            }
        }
        self.note(path);
    }

    fn note(&mut self, path: Path) {
        self.calls.extend(path.last().cloned().filter(|_| path.len() > 1));
        if !path.is_empty() {
            self.paths.insert(path);
        }
    }
}

fn names<'a>(idents: impl Iterator<Item = &'a Ident>) -> Path {
    idents.map(Ident::to_string).collect()
}

impl<'a> Visit<'a> for Uses {
    fn visit_item(&mut self, item: &'a Item) {
        // The imports of a module are in its table.
        if !matches!(item, Item::Use(_)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, _: &'a ItemMod) {}

    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::Item(Item::Use(item)) => self.inner.push(item.clone()),
            _ => visit::visit_stmt(self, statement),
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        self.note(names(path.segments.iter().map(|segment| &segment.ident)));
        visit::visit_path(self, path);
    }

    fn visit_attribute(&mut self, _: &'a Attribute) {}

    fn visit_macro(&mut self, call: &'a Macro) {
        self.scan(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'a ExprMethodCall) {
        self.calls.insert(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    fn visit_impl_item_fn(&mut self, function: &'a ImplItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_impl(&mut self, block: &'a ItemImpl) {
        if let (None, Type::Path(of)) = (&block.trait_, &*block.self_ty) {
            let of = names(of.path.segments.iter().map(|segment| &segment.ident));
            let functions = block.items.iter().filter_map(|item| match item {
                ImplItem::Fn(function) => Some(function.sig.ident.to_string()),
                _ => None,
            });
            self.methods.push((of, functions.collect()));
        }
        visit::visit_item_impl(self, block);
    }
}
