use std::time::Duration;

use super::super::{LimitPer, RateLimit};
use super::{SMALL, faults, load_text, reasons};

fn with(section: &str) -> String {
    format!("{SMALL}\n{section}")
}

#[test]
fn a_limit_has_a_number_and_stands_where_it_was_written() {
    let text = with(
        "[access]\nrate_limit = { requests = 100 }\n[[routes]]\npath = \"/a\"\n\
         rate_limit = { per = \"address\", requests = 5, window = \"10s\" }\n[[routes]]\npath = \"/b\"",
    );
    let settings = load_text(text, &[]).unwrap().settings;
    let minute = Duration::from_secs(60);
    let limit = RateLimit { per: LimitPer::Client, requests: 100, window: minute };
    assert_eq!(settings.rate_limit, Some(limit));
    let own = RateLimit { per: LimitPer::Address, requests: 5, window: Duration::from_secs(10) };
    assert_eq!(settings.routes[0].rate_limit, Some(own));
    assert_eq!(settings.routes[1].rate_limit, None);
}

#[test]
fn a_limit_that_says_nothing_or_too_much_is_told_with_the_mend() {
    let told = |limit: &str| faults(with(&format!("[access]\nrate_limit = {limit}")));
    let text = told("{ per = \"client\" }");
    assert!(text.contains("this `rate_limit` has no `requests`"), "{text}");
    assert!(text.contains("requests = 100, window = \"1m\""), "{text}");
    let text = told("{ per = \"clients\", requests = 1 }");
    assert!(text.contains("did you mean `client`?"), "{text}");
    let text = told("{ requests = 0 }");
    assert!(text.contains("`requests`") && text.contains("deny"), "{text}");
    assert!(told("{ requests = 1, window = \"250ms\" }").contains("`window`"));
    assert!(told("{ requests = 1, window = \"2d\" }").contains("`window`"));
    assert!(told("{ request = 1 }").contains("did you mean `requests`?"));
    assert_eq!(reasons(with("[access]\nrate_limit = 5")).len(), 1);
}
