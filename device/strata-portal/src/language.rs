//! The languages of the device's pages, and which one a browser gets.
//!
//! RFC 9110 section 12.5.4: the language with the highest weight that there is.

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Language {
    /// English, for whoever asks for none of the others.
    #[default]
    English,
    /// German.
    German,
    /// Spanish.
    Spanish,
    /// French.
    French,
}

impl Language {
    /// Its tag (RFC 5646), for `lang` and `Content-Language`.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::Spanish => "es",
            Self::French => "fr",
        }
    }

    fn of(tag: &str) -> Option<Self> {
        let primary = tag.split('-').next().unwrap_or(tag);
        let all = [Self::English, Self::German, Self::Spanish, Self::French];
        all.into_iter().find(|language| primary.eq_ignore_ascii_case(language.tag()))
    }

    /// From the value of `Accept-Language`.
    #[must_use]
    pub fn accepted(header: &str) -> Self {
        let mut best = (0.0, Self::default());
        for range in header.split(',').take(20) {
            let mut parts = range.split(';').map(str::trim);
            let Some(language) = parts.next().and_then(Self::of) else { continue };
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |weight| weight.parse().ok());
            // Of equal ones the first.
            if let Some(weight) = weight.filter(|&weight: &f32| weight > best.0 && weight <= 1.0) {
                best = (weight, language);
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_with_the_highest_weight_is_taken() {
        for (header, language) in [
            ("", Language::English),
            ("de", Language::German),
            ("de-AT,de;q=0.9,en;q=0.8", Language::German),
            ("nl, fr;q=0.5, es;q=0.7", Language::Spanish),
            ("en;q=0.2, FR-ca", Language::French),
            ("ja, zh;q=0.9", Language::English),
            ("de;q=0, es;q=0.1", Language::Spanish),
            ("de;q=nonsense, ;;;,, fr;q=2", Language::English),
        ] {
            assert_eq!(Language::accepted(header), language, "{header}");
        }
    }
}
