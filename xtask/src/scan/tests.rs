use super::*;

fn names(text: &str) -> Vec<(String, usize, usize)> {
    Source::new(text).functions().into_iter().map(|f| (f.name, f.line, f.length)).collect()
}

#[test]
fn counts_the_lines_of_a_function_with_its_braces() {
    let text = "/// doc\npub fn one(a: [u8; 3])\n-> u8\n{\n    a[0]\n}\nfn two() {}\n";
    assert_eq!(names(text), [("one".into(), 2, 5), ("two".into(), 7, 1)]);
}

#[test]
fn braces_in_strings_comments_and_characters_do_not_count() {
    let text = concat!(
        "fn a<'a>(x: &'a str) {\n",
        "    let _ = \"}\\\"}\"; // }\n",
        "    let _ = r#\"}\"}\"#; /* } /* } */ } */\n",
        "    let _ = ('}', b'}', '\\'', '\u{e9}', '\\u{7d}', br\"}\");\n",
        "    'outer: loop { break 'outer; }\n",
        "}\n",
        "fn b() {}\n",
    );
    assert_eq!(names(text), [("a".into(), 1, 6), ("b".into(), 7, 1)]);
}

#[test]
fn function_pointers_and_bodiless_signatures_are_no_functions() {
    let text = "trait T { fn head(&self) -> [u8; 2]; }\ntype F = fn(u8) -> u8;\nstruct S { f: fn() }\n";
    assert_eq!(names(text), []);
}

#[test]
fn nested_functions_and_raw_names_are_found() {
    let text = "fn outer() {\n    fn inner() {\n    }\n}\nfn r#match() {}\n";
    let found = names(text);
    assert_eq!(found[0], ("outer".into(), 1, 4));
    assert_eq!(found[1], ("inner".into(), 2, 2));
    assert_eq!(found[2].0, "r#match");
}

#[test]
fn test_items_are_left_out_wherever_they_stand() {
    let text = concat!(
        "#[cfg(test)]\nmod tests;\n",
        "fn code() { x.unwrap() }\n",
        "#[cfg(test)]\nmod more {\n    fn t() { x.unwrap() }\n}\n",
        "fn after() {}\n",
    );
    let source = Source::new(text);
    assert_eq!(source.lines_with(".unwrap()"), [3]);
    assert_eq!(source.lines_outside_tests(), 2);
    assert_eq!(source.functions().len(), 2);
}

#[test]
fn a_file_that_is_only_for_tests_has_no_lines() {
    let source = Source::new("#![cfg(test)]\nfn t() { x.unwrap() }\n");
    assert_eq!(source.lines_outside_tests(), 0);
    assert!(source.lines_with(".unwrap()").is_empty());
}

#[test]
fn a_word_in_a_comment_or_a_string_is_not_code() {
    let source = Source::new("// x.unwrap()\nfn f() { \"x.unwrap()\"; }\n/* \n.unwrap() */\n");
    assert!(source.lines_with(".unwrap()").is_empty());
}

#[test]
fn broken_sources_do_not_hang_or_panic() {
    for text in ["fn", "fn f() {", "\"", "'", "/*", "r#\"", "'\\", "}", "#[cfg(test)]", "b'", "fn f)"] {
        let source = Source::new(text);
        let _ = source.functions();
        let _ = source.lines_outside_tests();
    }
}
