//! The players: what one is, and the squad of them that lives as long as the sample API.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One player, as the API shows and takes it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Player {
    /// Names the player in the URL. Left out of a POST: the lowest free number.
    #[serde(default)]
    pub(super) squad_number: Option<u16>,
    first_name: String,
    last_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    date_of_birth: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    team: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    league: Option<String>,
}

/// Why the squad did not take a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unchanged {
    /// Nobody wears this number.
    Unknown(u16),
    /// Somebody wears this number already.
    Taken(u16),
    /// The number in the body is not the one in the path.
    OtherNumber,
    /// Zero or above [`HIGHEST_NUMBER`].
    NoSuchNumber,
    /// A name is empty, or a text is longer than [`LONGEST_TEXT`].
    Text,
    /// Every number is taken.
    Full,
}

/// At most [`HIGHEST_NUMBER`] players, by number.
#[derive(Debug)]
pub(super) struct Squad(BTreeMap<u16, Player>);

impl Squad {
    /// Argentina at the World Cup of 2022.
    ///
    /// # Errors
    /// None but with a broken `players.json`, which a test reads.
    pub(super) fn argentina_2022() -> serde_json::Result<Self> {
        let players: Vec<Player> = serde_json::from_str(include_str!("players.json"))?;
        Ok(Self(players.into_iter().filter_map(|one| Some((one.squad_number?, one))).collect()))
    }

    /// Everybody, by number.
    pub(super) fn all(&self) -> Vec<&Player> {
        self.0.values().collect()
    }

    /// Who wears `number`.
    pub(super) fn find(&self, number: u16) -> Result<&Player, Unchanged> {
        self.0.get(&number).ok_or(Unchanged::Unknown(number))
    }

    /// Takes a player in; the answer is the player with its number.
    pub(super) fn add(&mut self, mut player: Player) -> Result<(u16, &Player), Unchanged> {
        player.check()?;
        let number = match player.squad_number {
            Some(number) if self.0.contains_key(&number) => return Err(Unchanged::Taken(number)),
            Some(number) => number,
            None => (1..=HIGHEST_NUMBER)
                .find(|number| !self.0.contains_key(number))
                .ok_or(Unchanged::Full)?,
        };
        player.squad_number = Some(number);
        Ok((number, self.0.entry(number).or_insert(player)))
    }

    /// Puts `player` in the place of the one who wears `number`.
    pub(super) fn replace(&mut self, number: u16, mut player: Player) -> Result<(), Unchanged> {
        player.check()?;
        if player.squad_number.is_some_and(|other| other != number) {
            return Err(Unchanged::OtherNumber);
        }
        let place = self.0.get_mut(&number).ok_or(Unchanged::Unknown(number))?;
        player.squad_number = Some(number);
        *place = player;
        Ok(())
    }

    /// Lets the one who wears `number` go.
    pub(super) fn remove(&mut self, number: u16) -> Result<(), Unchanged> {
        self.0.remove(&number).map(drop).ok_or(Unchanged::Unknown(number))
    }
}

impl Player {
    fn check(&self) -> Result<(), Unchanged> {
        if self.squad_number.is_some_and(|number| !(1..=HIGHEST_NUMBER).contains(&number)) {
            return Err(Unchanged::NoSuchNumber);
        }
        let names = [&self.first_name, &self.last_name];
        let others = [&self.date_of_birth, &self.position, &self.team, &self.league];
        let long = |text: &String| text.len() > LONGEST_TEXT;
        if names.iter().any(|name| name.is_empty() || long(name))
            || others.into_iter().flatten().any(long)
        {
            return Err(Unchanged::Text);
        }
        Ok(())
    }
}

/// Most players, so that memory is bounded: numbers run from 1 to this.
pub(super) const HIGHEST_NUMBER: u16 = 1_000;

/// Longest text of a player, bytes.
pub(super) const LONGEST_TEXT: usize = 100;

#[cfg(test)]
mod tests {
    use super::{HIGHEST_NUMBER, Player, Squad, Unchanged};

    fn player(number: Option<u16>, last_name: &str) -> Player {
        let text =
            serde_json::json!({"squadNumber": number, "firstName": "A", "lastName": last_name});
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn the_squad_has_twenty_six_players() {
        let squad = Squad::argentina_2022().unwrap();
        assert_eq!(squad.all().len(), 26);
        assert_eq!(squad.find(10).unwrap().last_name, "Messi");
    }

    #[test]
    fn a_player_without_a_number_gets_the_lowest_free_one() {
        let mut squad = Squad::argentina_2022().unwrap();
        squad.remove(7).unwrap();
        assert_eq!(squad.add(player(None, "B")).unwrap().0, 7);
        assert_eq!(squad.add(player(None, "B")).unwrap().0, 27);
    }

    #[test]
    fn the_squad_does_not_grow_past_its_highest_number() {
        let mut squad = Squad::argentina_2022().unwrap();
        for _ in squad.all().len()..usize::from(HIGHEST_NUMBER) {
            squad.add(player(None, "B")).unwrap();
        }
        assert_eq!(squad.add(player(None, "B")), Err(Unchanged::Full));
        assert_eq!(squad.all().len(), usize::from(HIGHEST_NUMBER));
        assert_eq!(squad.add(player(Some(HIGHEST_NUMBER + 1), "B")), Err(Unchanged::NoSuchNumber));
    }

    #[test]
    fn a_change_that_contradicts_the_squad_is_refused() {
        let mut squad = Squad::argentina_2022().unwrap();
        assert_eq!(squad.add(player(Some(10), "B")), Err(Unchanged::Taken(10)));
        assert_eq!(squad.replace(10, player(Some(11), "B")), Err(Unchanged::OtherNumber));
        assert_eq!(squad.replace(99, player(None, "B")), Err(Unchanged::Unknown(99)));
        assert_eq!(squad.remove(99), Err(Unchanged::Unknown(99)));
        assert_eq!(squad.replace(10, player(None, "")), Err(Unchanged::Text));
        assert_eq!(squad.replace(10, player(None, &"x".repeat(101))), Err(Unchanged::Text));
        assert_eq!(squad.find(10).unwrap().last_name, "Messi");
    }
}
