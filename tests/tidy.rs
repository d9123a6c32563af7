//! Enforces the structure: which room may name what, a head in every file, limits on size, and that pages
//! name only what exists. Every rule is shown to fail on a sample that breaks it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// The most lines of a file and of a function.
const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 70;

/// What a room may name: rooms of this crate, and guarded crates.
struct Room {
    name: &'static str,
    rooms: &'static [&'static str],
    crates: &'static [&'static str],
}

/// The allowed dependencies. A room that is not listed may name everything.
const ROOMS: [Room; 8] = [
    Room { name: "person", rooms: &["person"], crates: &["chrono"] },
    Room { name: "store", rooms: &["store", "person"], crates: &["rocksdb", "rayon"] },
    Room {
        name: "ingest",
        rooms: &["ingest", "person", "store", "metrics", "progress", "clock"],
        crates: &["rdkafka", "tokio", "tracing", "rayon"],
    },
    Room {
        name: "api",
        rooms: &["api", "person", "store", "metrics", "progress", "clock"],
        crates: &["axum", "hyper", "hyper_util", "tower", "tokio", "tracing", "rand", "rayon"],
    },
    Room { name: "metrics", rooms: &["metrics", "store"], crates: &["prometheus"] },
    Room { name: "control", rooms: &["control", "store", "clock"], crates: &["tracing"] },
    Room { name: "clock", rooms: &["clock"], crates: &[] },
    Room { name: "progress", rooms: &["progress"], crates: &["tokio", "tracing"] },
];

/// Crates, clocks among them, that a room may name only if they are listed above.
const GUARDED: [&str; 13] = [
    "rocksdb",
    "rdkafka",
    "axum",
    "hyper",
    "hyper_util",
    "tower",
    "tokio",
    "tracing",
    "prometheus",
    "chrono",
    "rayon",
    "rand",
    "ureq",
];

/// Clocks, which the model must not name.
const CLOCKS: [&str; 4] = ["SystemTime", "Instant", "Utc", "Local"];

/// The system's clock, which only `clock.rs` may name.
const WALL_CLOCKS: [&str; 2] = ["SystemTime", "UNIX_EPOCH"];

/// Returns everything that is wrong with one source file; `path` is relative to `src`.
fn complaints(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//! ") {
        found.push(format!("{path}: begins with no `//!` head"));
    }
    let lines = text.lines().count();
    if lines > FILE_LINES {
        found.push(format!("{path}: {lines} lines, at most {FILE_LINES}"));
    }
    let file = match syn::parse_file(text) {
        Ok(file) => file,
        Err(error) => return vec![format!("{path}: {error}")],
    };
    let mut seen = Seen::default();
    seen.visit_file(&file);
    for (name, lines) in &seen.long_functions {
        found.push(format!("{path}: `{name}` has {lines} lines, at most {FUNCTION_LINES}"));
    }
    let asks = seen.crates.iter().any(|name| WALL_CLOCKS.contains(&name.as_str()));
    if asks && path != "clock.rs" {
        found.push(format!("{path}: may not name the system's clock, but crate::clock"));
    }
    let first = path.split('/').next().unwrap_or(path);
    let Some(room) = ROOMS.iter().find(|room| first.trim_end_matches(".rs") == room.name) else {
        return found;
    };
    for name in seen.rooms.iter().filter(|name| !room.rooms.contains(&name.as_str())) {
        found.push(format!("{path}: {} may not name crate::{name}", room.name));
    }
    let guarded = seen.crates.iter().filter(|name| GUARDED.contains(&name.as_str()));
    for name in guarded.filter(|name| !room.crates.contains(&name.as_str())) {
        found.push(format!("{path}: {} may not name {name}", room.name));
    }
    if room.name == "person" {
        for name in seen.crates.iter().filter(|name| CLOCKS.contains(&name.as_str())) {
            found.push(format!("{path}: the model has no clock, and here is {name}"));
        }
    }
    found
}

/// What a file names outside of its tests.
#[derive(Default)]
struct Seen {
    rooms: BTreeSet<String>,
    crates: BTreeSet<String>,
    long_functions: Vec<(String, usize)>,
}

impl Seen {
    fn path(&mut self, segments: &[String]) {
        match segments {
            [first, second, ..] if first == "crate" => _ = self.rooms.insert(second.clone()),
            segments => self.crates.extend(segments.iter().cloned()),
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |ident: &syn::Ident| {
            let mut path = before.to_vec();
            path.push(ident.to_string());
            path
        };
        match tree {
            syn::UseTree::Path(path) => self.tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.tree(item, before));
            }
            syn::UseTree::Name(name) => self.path(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.path(&with(&rename.ident)),
            syn::UseTree::Glob(_) => self.path(before),
        }
    }

    fn function(&mut self, name: &syn::Ident, item: &impl Spanned) {
        let span = item.span();
        let lines = span.end().line - span.start().line + 1;
        if lines > FUNCTION_LINES {
            self.long_functions.push((name.to_string(), lines));
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    let is = |attribute: &syn::Attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|what| what == "test")
    };
    attributes.iter().any(is)
}

impl<'a> Visit<'a> for Seen {
    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments: Vec<_> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 {
            self.path(&segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
        self.function(&item.sig.ident, item);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        self.function(&item.sig.ident, item);
        visit::visit_impl_item_fn(self, item);
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_source_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    assert!(files.len() > 30, "the sources were not found");
    let mut found = Vec::new();
    for file in files {
        let path = file.strip_prefix(root.join("src")).unwrap().display().to_string();
        let text = std::fs::read_to_string(&file).unwrap();
        let of_tests = path.contains("/tests/") || path.ends_with("/tests.rs");
        let complaints = complaints(&path, &text);
        // Tests may name anything, but their size and heads are checked all the same.
        found.extend(
            complaints.into_iter().filter(|text| !of_tests || !text.contains("may not name")),
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Returns the names of tests that a page names in backquotes: small letters joined by more than one `_`.
fn named_tests(page: &str) -> Vec<&str> {
    let spans = page.split('`').skip(1).step_by(2);
    let is_name = |span: &&str| {
        let small = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        span.bytes().all(small) && span.matches('_').count() > 1
    };
    spans.filter(is_name).collect()
}

#[test]
fn every_test_that_the_guarantees_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        sources(&root.join(folder), &mut files);
    }
    let texts: Vec<_> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let page = std::fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
    let named = named_tests(&page);
    assert!(named.len() > 40, "the page's tests were not found");
    let is_there = |name: &&str| texts.iter().any(|text| text.contains(&format!("fn {name}(")));
    let missing: Vec<_> = named.into_iter().filter(|name| !is_there(name)).collect();
    assert!(missing.is_empty(), "no test is called {missing:?}");
    let sample = "**One** is tried by `a_test_of_it`, `api.connections` and `CRASH_KILLS`.";
    assert_eq!(named_tests(sample), ["a_test_of_it"]);
}

/// What a file declares or re-exports, as `owner::name`: the items of its module and the members of types.
struct Declared<'f> {
    owner: String,
    found: &'f mut BTreeSet<String>,
}

impl Declared<'_> {
    fn file(path: &Path, text: &str, found: &mut BTreeSet<String>) {
        let stem = if path.ends_with("mod.rs") { path.parent().unwrap() } else { path };
        let owner = stem.file_stem().unwrap().display().to_string();
        Declared { owner, found }.visit_file(&syn::parse_file(text).unwrap());
    }

    fn name(&mut self, name: &syn::Ident) {
        self.found.insert(format!("{}::{name}", self.owner));
    }

    fn within(&mut self, owner: &syn::Ident, visit: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.owner, owner.to_string());
        visit(self);
        self.owner = before;
    }
}

impl<'a> Visit<'a> for Declared<'_> {
    fn visit_signature(&mut self, item: &'a syn::Signature) {
        self.name(&item.ident);
    }

    /// What is inside a function is not a member of anything.
    fn visit_block(&mut self, _: &'a syn::Block) {}

    fn visit_field(&mut self, field: &'a syn::Field) {
        field.ident.iter().for_each(|name| self.name(name));
    }

    fn visit_variant(&mut self, variant: &'a syn::Variant) {
        self.name(&variant.ident);
    }

    fn visit_item_type(&mut self, item: &'a syn::ItemType) {
        self.name(&item.ident);
    }

    fn visit_item_const(&mut self, item: &'a syn::ItemConst) {
        self.name(&item.ident);
    }

    fn visit_impl_item_const(&mut self, item: &'a syn::ImplItemConst) {
        self.name(&item.ident);
    }

    fn visit_use_name(&mut self, item: &'a syn::UseName) {
        self.name(&item.ident);
    }

    fn visit_item_struct(&mut self, item: &'a syn::ItemStruct) {
        self.name(&item.ident);
        self.within(&item.ident, |declared| visit::visit_item_struct(declared, item));
    }

    fn visit_item_enum(&mut self, item: &'a syn::ItemEnum) {
        self.name(&item.ident);
        self.within(&item.ident, |declared| visit::visit_item_enum(declared, item));
    }

    fn visit_item_trait(&mut self, item: &'a syn::ItemTrait) {
        self.name(&item.ident);
        self.within(&item.ident, |declared| visit::visit_item_trait(declared, item));
    }

    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        self.name(&item.ident);
        self.within(&item.ident, |declared| visit::visit_item_mod(declared, item));
    }

    fn visit_item_impl(&mut self, item: &'a syn::ItemImpl) {
        if let syn::Type::Path(of) = &*item.self_ty
            && let Some(of) = of.path.segments.last()
        {
            self.within(&of.ident, |declared| visit::visit_item_impl(declared, item));
        }
    }
}

/// Returns the paths that a page names in backquotes, such as `Type::name`, except those of other crates.
fn named_paths(page: &str) -> Vec<&str> {
    let spans = page.split('`').skip(1).step_by(2);
    let is_path = |span: &&str| {
        let is_of_path = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
        let first = span.split("::").next().unwrap_or_default();
        span.contains("::") && span.bytes().all(is_of_path) && !GUARDED.contains(&first)
    };
    spans.filter(is_path).collect()
}

#[test]
fn every_path_that_the_architecture_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let mut declared = BTreeSet::new();
    for file in &files {
        Declared::file(file, &std::fs::read_to_string(file).unwrap(), &mut declared);
    }
    let is_missing = |path: &&str| {
        let names: Vec<_> = path.split("::").collect();
        !names.windows(2).all(|pair| declared.contains(&pair.join("::")))
    };
    let page = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let named = named_paths(&page);
    assert!(named.len() > 40, "the page's paths were not found");
    let missing: Vec<_> = named.into_iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "nothing is called {missing:?}");
    let sample = "`store::Store::open` and `Store::gone`, not `axum::serve`, `#[a::b]` or `open`.";
    let missing: Vec<_> = named_paths(sample).into_iter().filter(is_missing).collect();
    assert_eq!(missing, ["Store::gone"]);
}

#[test]
fn every_rule_fails_where_it_is_broken() {
    let long = format!("//! Head.\nfn f() {{\n{}}}\n", "    f();\n".repeat(FUNCTION_LINES));
    for (path, text, complaint) in [
        ("person/a.rs", "use std::fmt;", "no `//!` head"),
        ("person/a.rs", "//! Head.\nuse crate::store::Store;", "may not name crate::store"),
        ("person/a.rs", "//! Head.\nuse std::time::Instant;", "the model has no clock"),
        ("person/a.rs", "//! Head.\nfn f() { chrono::Utc::now(); }", "the model has no clock"),
        ("cli/a.rs", "//! Head.\nuse std::time::SystemTime;", "the system's clock"),
        ("control.rs", "//! Head.\nfn f() { std::time::SystemTime::now(); }", "the system's clock"),
        ("person.rs", "//! Head.\nuse tokio::sync::Mutex;", "may not name tokio"),
        ("store/a.rs", "//! Head.\nuse crate::{person, api};", "may not name crate::api"),
        ("store/a.rs", "//! Head.\nfn f() -> tokio::task::Id {}", "may not name tokio"),
        ("api/a.rs", "//! Head.\nuse rocksdb::DB;", "may not name rocksdb"),
        (
            "api/a.rs",
            "//! Head.\nfn f() { crate::ingest::apply::parse(); }",
            "may not name crate::ingest",
        ),
        ("ingest/a.rs", "//! Head.\nuse axum::Router;", "may not name axum"),
        ("cli/a.rs", &long, "at most 70"),
        ("cli/a.rs", &format!("//! Head.\n{}", "\n".repeat(FILE_LINES)), "at most 400"),
    ] {
        let found = complaints(path, text).join("\n");
        assert!(found.contains(complaint), "{text}\n{found}");
    }
    let tests_aside = "//! Head.\n#[cfg(test)]\nmod tests { use tokio::test; }";
    assert_eq!(complaints("person/a.rs", tests_aside), [""; 0]);
}
