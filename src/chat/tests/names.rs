//! What people are called.

use super::*;

#[test]
fn somebody_takes_a_name() {
    let house = House::default();
    let (mut anna, mut bert) = (house.comes(), house.comes());
    forget([&mut anna, &mut bert]);
    anna.send("/nick Anna");
    anna.send("It's me");
    for person in [&mut anna, &mut bert] {
        assert_eq!(heard(person), ["* user0 is now Anna", "[Anna]: It's me"]);
    }
}

#[test]
fn a_name_belongs_to_one_person_of_the_whole_chat() {
    let house = House::default();
    let (mut anna, mut bert) = (house.comes(), house.comes_to("/chat?room=tea"));
    anna.send("/nick Anna");
    forget([&mut anna, &mut bert]);
    for (wanted, answer) in [
        ("Anna", "* You are still user1: somebody is called Anna already"),
        ("ANNA", "* You are still user1: somebody is called ANNA already"),
        ("Ａｎｎａ", "* You are still user1: somebody is called Anna already"),
        ("user7", "* You are still user1: user and a number is a name that only the server gives"),
        (
            "ＵＳＥＲ٠",
            "* You are still user1: user and a number is a name that only the server gives",
        ),
        ("🚀", &format!("* You are still user1: {NOT_ONE_WORD}")),
        (
            "\u{301}",
            "* You are still user1: in a name, marks stand on letters: 4 at most, none twice",
        ),
        (
            "\u{410}nna",
            "* You are still user1: a name does not mix Latin letters with others that look like them",
        ),
        ("", "* You are user1; another name: /nick NAME"),
    ] {
        bert.send(format!("/nick {wanted}"));
        assert_eq!(heard(&mut bert), [answer], "{wanted:?}");
    }
    anna.send("/nick ANNA");
    assert_eq!(heard(&mut anna), ["* Anna is now ANNA"], "one's own name in other letters");
}

#[test]
fn a_name_is_one_name_in_all_its_forms() {
    let house = House::default();
    let (mut anna, mut bert) = (house.comes(), house.comes());
    anna.send("/nick Zoe\u{308}");
    forget([&mut anna, &mut bert]);
    for wanted in ["Zoë", "zoe\u{308}", "ＺＯＥ\u{308}"] {
        bert.send(format!("/nick {wanted}"));
        let [answer] = &*heard(&mut bert) else { panic!("{wanted}: no answer") };
        assert!(answer.starts_with("* You are still user1: somebody is called"), "{answer}");
    }
    anna.send("/nick Anna");
    forget([&mut anna, &mut bert]);
    bert.send("/nick Zoë");
    assert_eq!(heard(&mut bert), ["* user1 is now Zoë"], "given back in all its forms");
}

#[test]
fn a_regular_is_called_what_they_chose_last() {
    let house = House::default();
    assert_eq!(house.chat.name_of(1), None);
    let mut first = house.regular_comes(1, "Anna");
    assert_eq!(heard(&mut first), ["You've logged in as [Anna]"]);
    first.send("/nick Berta");
    assert_eq!(house.chat.name_of(1).as_deref(), Some("Berta"));
    let mut again = house.regular_comes(1, "Anna");
    assert_eq!(heard(&mut again), ["You've logged in as [Berta]"]);
    let mut other = house.regular_comes(2, "Berta");
    let why = "* You are user0 for now: somebody is called Berta already";
    assert_eq!(heard(&mut other), ["You've logged in as [user0]", why]);
    let mut nobody = house.regular_comes(3, "user0");
    let why = "* You are user1 for now: user and a number is a name that only the server gives";
    assert_eq!(heard(&mut nobody), ["You've logged in as [user1]", why]);
    drop([first, again, other, nobody]);
    assert!(lock(&house.chat.0.names).is_empty());
}

#[test]
fn a_name_given_back_is_free() {
    let house = House::default();
    let (mut anna, mut bert, mut carl) = (house.comes(), house.comes(), house.comes());
    anna.send("/nick Anna");
    anna.send("/nick Änne");
    forget([&mut bert]);
    bert.send("/nick anna");
    assert_eq!(heard(&mut bert), ["* user1 is now anna"], "given back for another");
    drop(anna);
    forget([&mut carl]);
    carl.send("/nick änne");
    assert_eq!(heard(&mut carl), ["* user2 is now änne"], "given back by who was lost");
    drop([bert, carl]);
    assert!(lock(&house.chat.0.names).is_empty());
}
