"""The group that says which volumes are the channels of the active one: rows of a name and a volume."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from ..core import BadInputError
from ..core.channels import MOST_CHANNELS
from ..core.messages import joined
from .channel_row import ChannelRow
from .session import PanelSession


class ChannelRows:
    """Rows to edit; nothing is changed before 'Use these channels' is clicked."""

    def __init__(self, session: PanelSession):
        self._session, self._ui, self._channels = session, session.ui, session.logic.panel.channels
        layout = qt.QGridLayout(self._ui.channelRowsFrame)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setColumnStretch(0, 2)
        layout.setColumnStretch(1, 3)
        layout.setColumnStretch(2, 1)
        self.rows = [ChannelRow(layout, number) for number in range(MOST_CHANNELS)]
        for row in self.rows:
            row.box.connect("activated(int)", lambda _place: session.attempt(self._show_modalities, keep_message=True))
        self._count = self._kept = 0
        self._volume: Any = None
        self._state: tuple = ()
        self._ui.channelsGroup.connect("toggled(bool)", lambda _on: session.attempt(self.refresh, keep_message=True))
        session.on_click(self._ui.addChannelButton, self._add)
        session.on_click(self._ui.guessChannelsButton, self._guess)
        session.on_click(self._ui.useChannelsButton, self._use)

    @property
    def shown(self) -> list[ChannelRow]:
        """The rows that are in use."""
        return self.rows[: self._count]

    @property
    def added(self) -> list[ChannelRow]:
        """The rows that are new channels of the cases of a cohort folder."""
        return self.shown[self._kept :] if self._kept else []

    def refresh(self) -> None:
        """Show the channels of the active volume; what has been edited stays while the scene is the same."""
        volume, group = self._session.volume, self._ui.channelsGroup
        if volume is not self._volume:
            self._volume, self._state = volume, ()
            if volume is None or not self._channels.names(volume):
                group.collapsed = True
        if volume is not None and not group.collapsed:
            self._follow_scene(volume)
        elif volume is None:
            self._count = self._kept = 0
        for number, row in enumerate(self.rows):
            row.show(number < self._count)
        self._show_modalities()
        self._enable(volume)

    def _show_modalities(self) -> None:
        for row in self.shown:
            row.show_modality("" if row.node is None or row.is_removed else self._channels.modality(row.node))

    def _follow_scene(self, volume) -> None:
        fixed = self._channels.names_of_cohort()
        own = self._channels.names(volume)
        names = fixed or own or self._names_of_others(volume) or ("",)
        ids = tuple(node.GetID() for node in self._channels.of(volume).values())
        before, self._state = self._state, (own, names, ids)
        # What has been edited also stays when a volume is removed: its row then has no volume.
        is_edited = before[:2] == (own, names) and (before[2] == ids or any(row.is_removed for row in self.shown))
        # What the cases of a cohort folder have, after which there may be new rows.
        self._kept = len(names) if self._channels.has_cases() else 0
        if not is_edited:
            self._count = 0
            of_case = self._channels.of(volume)
            for name in names:
                self._append(name, of_case.get(name) if name in own else None, is_chosen=name in own)
        choices = self._channels.choices(volume)
        for row in self.shown[1:]:
            row.offer(choices)
        if self.shown:
            self.rows[0].offer_only(volume)
        for number, row in enumerate(self.rows):
            row.name.readOnly = bool(fixed) and number < self._kept

    def _names_of_others(self, volume) -> tuple[str, ...]:
        others = (node for node in self._session.all_volumes if node is not volume)
        return next((names for names in map(self._channels.names, others) if names), ())

    def _append(self, name: str, node=None, is_chosen: bool = False) -> None:
        row = self.rows[self._count]
        self._count += 1
        row.name.text = name
        row.choose(node, is_chosen)

    def _enable(self, volume) -> None:
        session, ui = self._session, self._ui
        why_fixed = session.why_no_volume or self._channels.why_fixed(volume)
        for number, row in enumerate(self.rows):
            # The image of a case that was opened may have no name yet.
            is_kept = number < self._kept and (number > 0 or row.name.readOnly)
            row.enable(session, why_fixed if is_kept or session.why_no_volume else None)
        why_no_more = session.why_no_volume or self._channels.why_no_more(volume)
        if why_no_more is None and not ui.channelsGroup.collapsed and self._count == MOST_CHANNELS:
            why_no_more = _("A case can have at most {most} channels.").format(most=MOST_CHANNELS)
        session.enable(ui.addChannelButton, why_no_more)
        why = session.why_no_volume or (None if self.added else why_fixed)
        open_rows = [row for row in self.shown[1:] if not row.is_chosen]
        session.enable(
            ui.guessChannelsButton, why or (None if open_rows else _("First add a channel without a volume."))
        )
        session.enable(ui.useChannelsButton, why or session.why_busy)

    # --- what is clicked ------------------------------------------------------------------------------------------

    def _require_changeable(self):
        """The active volume. Raises BadInputError if its channels cannot be changed, or its rows are not shown."""
        volume = self._session.volume
        why = self._session.why_no_volume or (None if self.added else self._channels.why_fixed(volume))
        if why is not None:
            raise BadInputError(why)
        if self._ui.channelsGroup.collapsed or volume is not self._volume:
            raise BadInputError(_("Unfold 'Channels' first, and say which volumes they are."))
        return volume

    def _add(self) -> None:
        volume = self._session.volume
        if volume is None or not self._ui.addChannelButton.enabled:
            raise BadInputError(self._session.why_no_volume or self._ui.addChannelButton.toolTip)
        if self._ui.channelsGroup.collapsed or volume is not self._volume:
            raise BadInputError(_("Unfold 'Channels' first, and say which volumes they are."))
        self._append("")
        self.refresh()

    def _guess(self) -> None:
        volume = self._require_changeable()
        own, guessed, others = self.rows[0].name.text.strip(), [], []
        taken = [row.node for row in self.shown]
        choices = [node for node in self._channels.choices(volume) if node not in taken]
        for row in self.shown[1:]:
            name = row.name.text.strip()
            if row.is_chosen or not name:
                continue
            node = self._channels.guess(volume, own, name, choices)
            if node is None:
                others.append(name)
            else:
                row.choose(node, is_chosen=True)
                guessed.append(_("{channel} is '{volume}'").format(channel=name, volume=node.GetName()))
        self.refresh()
        if guessed:
            text = _("Guessed from the names: {guesses}. Check that, and click 'Use these channels'.").format(
                guesses=", ".join(guessed)
            )
        else:
            text = _("No volume's name says what it is. Choose the volumes yourself.")
        if guessed and others:
            text += " " + _("Choose the volume of {names} yourself.").format(names=", ".join(others))
        self._session.say(text)

    def _use(self) -> None:
        session = self._session
        session.require_idle()
        volume = self._require_changeable()
        if self.added:
            self._add_to_cohort(volume)
            return
        rows = [(row.name.text.strip(), row) for row in self.shown]
        found: list[tuple[str, Any]] = [(rows[0][0], volume)]
        found += self._checked([row for _name, row in rows[1:]])
        if len(found) == 1 and not rows[0][1].name.readOnly:
            if not self._channels.names(volume) and self._set_modalities():
                session.refresh()
                session.say(
                    _("'{volume}' is {modality} now.").format(
                        volume=volume.GetName(), modality=self._channels.modality(volume) or _("of no known modality")
                    )
                )
                return
            if not self._channels.names(volume):
                raise BadInputError(_("Click 'Add channel' first, and choose its volume."))
            # The others are not seen in its place any more.
            self._channels.show(volume, self._channels.names(volume)[0])
            found = []
        elif not found[0][0]:
            raise BadInputError(
                _("Give the channel of '{volume}' a name, for example FLAIR.").format(volume=volume.GetName())
            )
        notes = self._channels.set_rows(volume, found)
        self._set_modalities()
        self._state = ()
        session.refresh()
        session.say(self._done(volume), notes=notes)

    def _set_modalities(self) -> bool:
        """Say of the volumes what has been chosen; False when nothing was."""
        chosen = [(row.node, row.modality) for row in self.shown if row.is_modality_chosen and row.node is not None]
        for node, modality in chosen:
            self._channels.set_modality(node, modality)
        for row in self.shown:
            row.forget_modality()
        return bool(chosen)

    def _checked(self, rows: list[ChannelRow]) -> list[tuple[str, Any]]:
        """Names and volumes of rows; without those that have neither. Raises BadInputError for incomplete ones."""
        found = []
        for row in rows:
            name = row.name.text.strip()
            if not name and row.node is None:
                continue
            if row.is_removed:
                self.refresh()
                raise BadInputError(
                    _("The volume of the channel '{channel}' was removed from the scene. Choose another one.").format(
                        channel=name
                    )
                )
            if not name:
                raise BadInputError(
                    _("Give the channel of '{volume}' a name, for example T1.").format(volume=row.node.GetName())
                )
            if not row.is_chosen:
                raise BadInputError(
                    _(
                        "Choose a volume for the channel '{channel}', or '(none)' if this case has no such image."
                    ).format(channel=name)
                )
            found.append((name, row.node))
        return found

    def _add_to_cohort(self, volume) -> None:
        """Add the new rows as channels to the cohort folder and to this case."""
        session, first = self._session, self.rows[0].name.text.strip()
        added = self._checked(self.added)
        own = self._channels.of(volume)
        chosen = [(row.name.text.strip(), row.node) for row in self.shown[1 : self._kept] if row.node is not None]
        added = [*((name, node) for name, node in chosen if own.get(name) is not node), *added]
        without = next((name for name, node in added if node is None), None)
        if not added or without is not None:
            self.refresh()
            raise BadInputError(
                _("Choose a volume for the new channel '{channel}'.").format(channel=without)
                if added
                else _("Give the new channel a name, and choose its volume.")
            )
        if not first:
            raise BadInputError(
                _("Give the channel of '{volume}' a name, for example FLAIR.").format(volume=volume.GetName())
            )

        def done(notes: list[str]) -> None:
            self._set_modalities()
            self._state = ()
            session.refresh()
            stale = _("Fills and results of this case came from other channels: make them again.")
            session.say(joined(" ", [self._done(volume), stale]), notes=notes)

        session.start(
            _("Adding channels ..."), lambda **how: self._channels.add_rows(volume, added, first, **how), done
        )

    def _done(self, volume) -> str:
        names, missing = list(self._channels.of(volume)), self._channels.missing(volume)
        if not names:
            return _("'{volume}' is a case by itself now.").format(volume=volume.GetName())
        text = _("'{volume}' has these channels now: {names}.").format(volume=volume.GetName(), names=", ".join(names))
        if missing:
            text += " " + _("It lacks {names}.").format(names=", ".join(missing))
        return text
