//! Lists in chunks.

use std::sync::Arc;

use naru_store::History;
use serde_json::{Value, json};

use crate::support::{Caller, MAPS, NoNodes, World, config_map};

const TEMPLATES: &str = "/api/v1/namespaces/default/podtemplates";

async fn templates(root: &Caller, count: usize) {
    for n in 0..count {
        let template = json!({"metadata": {"name": format!("template-{n:04}")},
            "template": {"spec": {"containers": [{"name": "test", "image": "test2"}]}}});
        root.post(TEMPLATES, &template).await.expect(201);
    }
}

fn count(list: &Value) -> usize {
    list["items"].as_array().expect("items").len()
}

/// Reads on in pages until there are no more: every page, and how much each said would follow.
async fn rest(root: &Caller, limit: usize, first: Value) -> Vec<Value> {
    let mut pages = vec![first];
    while let Some(token) = pages[pages.len() - 1]["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
        let page = root.get(&format!("{TEMPLATES}?limit={limit}&continue={token}")).await.expect(200);
        pages.push(page);
    }
    pages
}

#[track_caller]
fn are_of_one_state(pages: &[Value], limit: usize, total: usize) {
    let mut read = total - pages.iter().map(count).sum::<usize>();
    for page in pages {
        read += count(page);
        assert!(count(page) <= limit);
        assert_eq!(page["metadata"]["resourceVersion"], pages[0]["metadata"]["resourceVersion"]);
        let remaining = page["metadata"]["remainingItemCount"].as_u64().unwrap_or_default();
        assert_eq!(remaining as usize, total - read, "{}", page["metadata"]);
    }
}

#[tokio::test]
async fn chunks_say_how_much_remains() {
    let world = World::start().await;
    let root = world.root();
    templates(&root, 40).await;
    for limit in [7, 13, 40] {
        let first = root.get(&format!("{TEMPLATES}?limit={limit}")).await.expect(200);
        let pages = rest(&root, limit, first).await;
        assert_eq!(pages.iter().map(count).sum::<usize>(), 40);
        are_of_one_state(&pages, limit, 40);
    }
    let whole = root.get(TEMPLATES).await.expect(200);
    assert_eq!((count(&whole), whole["metadata"].get("continue")), (40, None));
}

#[tokio::test]
async fn an_expired_list_goes_on_from_its_last_key_in_chunks_of_the_present() {
    let world = World::with(Arc::new(NoNodes), History { transactions: 20, ..History::default() }).await;
    let root = world.root();
    templates(&root, 20).await;
    let first = root.get(&format!("{TEMPLATES}?limit=5")).await.expect(200);
    let token = first["metadata"]["continue"].as_str().expect("a token");
    root.post(MAPS, &config_map("a", &[])).await.expect(201);
    for n in 0..60 {
        root.put(&format!("{MAPS}/a"), &config_map("a", &[("n", &n.to_string())])).await.expect(200);
    }
    let expired = root.get(&format!("{TEMPLATES}?limit=5&continue={token}")).await;
    expired.refused(410);
    let status = expired.json();
    assert_eq!(status["reason"], "Expired");
    let token = status["metadata"]["continue"].as_str().expect("a way on");
    let second = root.get(&format!("{TEMPLATES}?limit=5&continue={token}")).await.expect(200);
    assert_ne!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let pages = rest(&root, 5, second).await;
    assert_eq!(pages.iter().map(count).sum::<usize>(), 15);
    are_of_one_state(&pages, 5, 20);
    assert_eq!(pages[0]["items"][0]["metadata"]["name"], "template-0005");
}
