"""The concepts that shape the demo dataset: what each one asks for, how often, and the rule it leaves behind.

A concept is decided per build by a coin of its own, thrown only where `when` holds, so that what it does is a cause and
not a coincidence: builds where the coin fell the other way are the control group.
"""

from dataclasses import dataclass, field

from splat_assets.domain.concepts import All, AnyOf, Not, Rule, WeaponIs, Wears


@dataclass(frozen=True, slots=True)
class Wish:
    """What a build is made to wear: mains and subs per ability, and abilities that it shall not wear at all."""

    mains: dict[str, int] = field(default_factory=dict)
    subs: dict[str, int] = field(default_factory=dict)
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Planted:
    """One planted concept.

    when: where it may happen, None for everywhere; it speaks of the weapon and of main-only abilities only. chance: how often
    it is tried there. wishes: what it does, one of them at random. then: what holds there afterwards.
    """

    name: str
    sentence: str
    when: Rule | None
    chance: float
    wishes: tuple[Wish, ...]
    then: tuple[Rule, ...]

    @property
    def rule(self) -> Rule:
        """What holds where it was carried out, and what a feature for it should look for."""
        parts = self.then if self.when is None else (self.when, *self.then)
        return parts[0] if len(parts) == 1 else All(parts)


PLANTED: tuple[Planted, ...] = (
    Planted(
        "charger_runs",
        "Chargers strafe while they aim: run speed of 12 AP or more.",
        when=WeaponIs("class", ("charger",)),
        chance=0.55,
        wishes=(Wish(mains={"run_speed_up": 1}, subs={"run_speed_up": 1}),),
        then=(Wears("run_speed_up", 12),),
    ),
    Planted(
        "charger_stays_dry",
        "Chargers hold a place and wear no swim speed at all.",
        when=WeaponIs("class", ("charger",)),
        chance=0.6,
        wishes=(Wish(avoid=("swim_speed_up",)),),
        then=(Not(Wears("swim_speed_up")),),
    ),
    Planted(
        "hidden_roller",
        "Rollers and brushes approach unseen: Ninja Squid, and the swim speed that pays for it.",
        when=WeaponIs("class", ("roller", "brush")),
        chance=0.5,
        wishes=(Wish(mains={"ninja_squid": 1, "swim_speed_up": 1}, subs={"swim_speed_up": 2}),),
        then=(Wears("ninja_squid"), Wears("swim_speed_up", 15)),
    ),
    Planted(
        "aiming_blaster",
        "Blasters steady their jump shots with Intensify Action.",
        when=WeaponIs("class", ("blaster",)),
        chance=0.5,
        wishes=(Wish(mains={"intensify_action": 1}, subs={"intensify_action": 1}),),
        then=(Wears("intensify_action", 12),),
    ),
    Planted(
        "thrifty_slosher",
        "Sloshers save main-weapon ink up to the 21 rung.",
        when=WeaponIs("class", ("slosher",)),
        chance=0.45,
        wishes=(Wish(mains={"ink_saver_main": 1}, subs={"ink_saver_main": 4}),),
        then=(Wears("ink_saver_main", 21),),
    ),
    Planted(
        "running_splatling",
        "Splatlings run while they charge: two mains and more of run speed.",
        when=WeaponIs("class", ("splatling",)),
        chance=0.35,
        wishes=(Wish(mains={"run_speed_up": 2}, subs={"run_speed_up": 3}),),
        then=(Wears("run_speed_up", 29),),
    ),
    Planted(
        "armoured_dualies",
        "Dualies walk into ink and bombs: both resistances on the 6 rung.",
        when=WeaponIs("class", ("dualies",)),
        chance=0.4,
        wishes=(Wish(subs={"ink_resistance_up": 2, "sub_resistance_up": 2}),),
        then=(Wears("ink_resistance_up", 6), Wears("sub_resistance_up", 6)),
    ),
    Planted(
        "brella_special",
        "Brellas invest in the special, either in its power or in keeping it.",
        when=WeaponIs("class", ("brella",)),
        chance=0.6,
        wishes=(Wish(subs={"special_power_up": 4}), Wish(subs={"special_saver": 4})),
        then=(AnyOf((Wears("special_power_up", 12), Wears("special_saver", 12))),),
    ),
    Planted(
        "missile_spam",
        "Tenta Missiles, whatever fires them, come with special charge on the 29 rung.",
        when=WeaponIs("special", ("Tenta Missiles",)),
        chance=0.35,
        wishes=(Wish(mains={"special_charge_up": 2}, subs={"special_charge_up": 3}),),
        then=(Wears("special_charge_up", 29),),
    ),
    Planted(
        "long_bubbler",
        "Big Bubbler comes with special power on the 15 rung.",
        when=WeaponIs("special", ("Big Bubbler",)),
        chance=0.4,
        wishes=(Wish(mains={"special_power_up": 1}, subs={"special_power_up": 2}),),
        then=(Wears("special_power_up", 15),),
    ),
    Planted(
        "cooler_host",
        "Tacticooler hosts wear Tenacity and special charge on the 15 rung.",
        when=WeaponIs("special", ("Tacticooler",)),
        chance=0.5,
        wishes=(Wish(mains={"tenacity": 1, "special_charge_up": 1}, subs={"special_charge_up": 2}),),
        then=(Wears("tenacity"), Wears("special_charge_up", 15)),
    ),
    Planted(
        "beacon_keeper",
        "Squid Beakon comes with sub power on the 21 rung.",
        when=WeaponIs("sub", ("Squid Beakon",)),
        chance=0.5,
        wishes=(Wish(mains={"sub_power_up": 1}, subs={"sub_power_up": 4}),),
        then=(Wears("sub_power_up", 21),),
    ),
    Planted(
        "bomb_thrower",
        "Splat and Suction Bombs are thrown twice: sub ink saved, ink recovered.",
        when=WeaponIs("sub", ("Splat Bomb", "Suction Bomb")),
        chance=0.3,
        wishes=(Wish(mains={"ink_saver_sub": 1}, subs={"ink_saver_sub": 1, "ink_recovery_up": 2}),),
        then=(Wears("ink_saver_sub", 12), Wears("ink_recovery_up", 6)),
    ),
    Planted(
        "pure_swim",
        "Rarely, and on any weapon: swim speed on nearly every slot.",
        when=None,
        chance=0.015,
        wishes=(Wish(mains={"swim_speed_up": 3}, subs={"swim_speed_up": 7}),),
        then=(Wears("swim_speed_up", 51),),
    ),
    Planted(
        "jump_and_stealth",
        "Stealth Jump on any weapon brings quick super jumps.",
        when=Wears("stealth_jump"),
        chance=0.6,
        wishes=(Wish(subs={"quick_super_jump": 2}),),
        then=(Wears("quick_super_jump", 6),),
    ),
    Planted(
        "come_back_fast",
        "Comeback on any weapon brings Quick Respawn on the 12 rung.",
        when=Wears("comeback"),
        chance=0.5,
        wishes=(Wish(subs={"quick_respawn": 4}),),
        then=(Wears("quick_respawn", 12),),
    ),
    Planted(
        "last_ditch_refill",
        "Last-Ditch Effort on any weapon brings ink recovery and main-weapon thrift.",
        when=Wears("last_ditch_effort"),
        chance=0.5,
        wishes=(Wish(subs={"ink_recovery_up": 2, "ink_saver_main": 2}),),
        then=(Wears("ink_recovery_up", 6), Wears("ink_saver_main", 6)),
    ),
    Planted(
        "punisher_gives_up_respawn",
        "Respawn Punisher on any weapon rules out Quick Respawn and Special Saver.",
        when=Wears("respawn_punisher"),
        chance=0.9,
        wishes=(Wish(avoid=("quick_respawn", "special_saver")),),
        then=(Not(AnyOf((Wears("quick_respawn"), Wears("special_saver")))),),
    ),
    Planted(
        "one_of_each",
        "On any weapon: one sub each of the four classic utilities.",
        when=None,
        chance=0.2,
        wishes=(
            Wish(
                subs=dict.fromkeys(("ink_resistance_up", "sub_resistance_up", "quick_super_jump", "special_saver"), 1)
            ),
        ),
        then=(
            Wears("ink_resistance_up"),
            Wears("sub_resistance_up"),
            Wears("quick_super_jump"),
            Wears("special_saver"),
        ),
    ),
)
