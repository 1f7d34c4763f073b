//! Reads licence expressions as far as needed to see whether a permissive choice exists.

/// Families that may not be the only choice, because they would bind the whole binary.
const REFUSED: [&str; 4] = ["GPL", "AGPL", "LGPL", "SSPL"];

/// True when the expression leaves a choice without GPL, AGPL, LGPL or SSPL; `None` when it
/// cannot be read.
pub fn permissive(expression: &str) -> Option<bool> {
    // Older manifests write a slash for OR.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { tokens: &tokens, at: 0 };
    let value = reader.any()?;
    (reader.at == tokens.len()).then_some(value)
}

struct Reader<'a> {
    tokens: &'a [&'a str],
    at: usize,
}

impl Reader<'_> {
    fn any(&mut self) -> Option<bool> {
        let mut value = self.all()?;
        while self.take("OR") {
            value |= self.all()?;
        }
        Some(value)
    }

    fn all(&mut self) -> Option<bool> {
        let mut value = self.one()?;
        while self.take("AND") {
            value &= self.one()?;
        }
        Some(value)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let value = self.any()?;
            return self.take(")").then_some(value);
        }
        let name = self.tokens.get(self.at).filter(|t| !["OR", "AND", "WITH", "(", ")"].contains(t))?;
        self.at += 1;
        if self.take("WITH") {
            self.tokens.get(self.at)?;
            self.at += 1;
        }
        let family = name.split('-').next().unwrap_or(name);
        Some(!REFUSED.iter().any(|refused| family.eq_ignore_ascii_case(refused)))
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|t| t.eq_ignore_ascii_case(token));
        if found {
            self.at += 1;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::permissive;

    #[test]
    fn a_permissive_alternative_is_enough() {
        for fine in [
            "MIT",
            "MIT/Apache-2.0",
            "MIT OR Apache-2.0 OR LGPL-2.1-or-later",
            "Apache-2.0 WITH LLVM-exception",
            "(Apache-2.0 OR MIT) AND Unicode-3.0",
            "MPL-2.0",
            "GPL-3.0 OR (MIT AND BSD-3-Clause)",
        ] {
            assert_eq!(permissive(fine), Some(true), "{fine}");
        }
    }

    #[test]
    fn copyleft_without_a_choice_is_refused() {
        for bad in [
            "GPL-3.0-only",
            "AGPL-3.0",
            "LGPL-2.1-or-later",
            "MIT AND GPL-2.0",
            "GPL-2.0 WITH Classpath-exception-2.0",
            "(MIT OR Apache-2.0) AND LGPL-3.0-only",
        ] {
            assert_eq!(permissive(bad), Some(false), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_fine() {
        for odd in ["", "MIT OR", "(MIT", "MIT Apache-2.0", "AND"] {
            assert_eq!(permissive(odd), None, "{odd}");
        }
    }
}
