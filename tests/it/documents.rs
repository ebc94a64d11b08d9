//! What the documents name is there.

use std::fs;
use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 9] = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/faults.md",
    "docs/limits.md",
    "docs/management.md",
    "docs/observability.md",
    "docs/performance.md",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_promise_about_security_names_a_test_that_exists() {
    assert_each_row_is_tested(&read(&root().join("SECURITY.md")), "| promise ");
}

#[test]
fn what_a_process_does_to_itself_is_tested_row_by_row() {
    let page = read(&root().join("docs/faults.md"));
    let (_, page) = page.split_once("## This process").unwrap();
    assert_each_row_is_tested(page, "| what happens ");
}

/// Each row of the tables names a test that exists.
fn assert_each_row_is_tested(page: &str, header: &str) {
    let promises: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with(header))
        .collect();
    assert!(promises.len() >= 10, "{promises:#?}");
    promises.into_iter().for_each(names_tests);
}

#[test]
fn every_fault_of_a_connection_names_a_test_that_exists() {
    let page = read(&root().join("docs/faults.md"));
    let (_, section) = page.split_once("\n## Connections\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let faults: Vec<_> = section
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| fault "))
        .collect();
    assert!(faults.len() >= 5, "{faults:#?}");
    faults.into_iter().for_each(names_tests);
}

#[test]
fn every_fault_of_the_store_names_a_test_that_exists() {
    let page = read(&root().join("docs/faults.md"));
    let (_, section) = page.split_once("\n## The store\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    assert_each_row_is_tested(section, "| fault ");
}

/// Fails if the row names no test, or one that is not there.
fn names_tests(row: &str) {
    let mut tests = 0;
    let words = row.split('`');
    for (file, name) in words.filter_map(|word| word.split_once("::")) {
        // Those of the store are a binary of their own.
        let path = match file.starts_with("store/") {
            true => format!("tests/{file}.rs"),
            false => format!("tests/it/{file}.rs"),
        };
        let source = read(&root().join(path));
        let (before, _) = source
            .split_once(&format!("fn {name}("))
            .unwrap_or_else(|| panic!("there is no `{file}::{name}`"));
        let attribute = before.lines().rev().find(|line| line.starts_with('#'));
        assert!(
            attribute.is_some_and(|attribute| attribute.contains("test")),
            "`{file}::{name}` is no test"
        );
        tests += 1;
    }
    assert!(tests > 0, "nothing shows it: {row}");
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    let mut links = 0;
    for document in DOCUMENTS {
        let path = root().join(document);
        for target in targets(&read(&path)) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") {
                let leads_to = path.with_file_name(file);
                assert!(leads_to.exists(), "{document} links to {file}");
                links += 1;
            }
        }
    }
    assert!(links >= 20, "only {links} links were found");
}

/// Where the inline links of a Markdown text lead; pictures apart.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("](").filter_map(|(end, _)| {
        let (before, after) = (&text[..end], &text[end + 2..]);
        let label = before.rfind('[')?;
        let is_picture = before[..label].ends_with('!');
        let (target, _) = after.split_once(')')?;
        (!is_picture).then_some(target)
    })
}

/// Who reads only the front page, of the package or of its documentation, learns of each chapter.
#[test]
fn every_chapter_of_the_guide_is_on_the_front_pages() {
    let guide = root().join("src/guide");
    let chapters = fs::read_dir(&guide).unwrap().filter_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".md").map(str::to_owned)
    });
    let chapters: Vec<String> = chapters.collect();
    assert!(chapters.len() >= 10, "{chapters:?}");
    let [readme, front, contents] =
        ["README.md", "src/lib.rs", "src/guide/mod.rs"].map(|page| read(&root().join(page)));
    for chapter in chapters {
        for (page, link) in [
            (&readme, format!("](src/guide/{chapter}.md)")),
            (&front, format!("[`guide::{chapter}`]")),
            (&contents, format!("| [`{chapter}`] |")),
        ] {
            assert!(page.contains(&link), "{link}");
        }
    }
}
