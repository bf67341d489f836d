package rest

import (
	"context"

	"slipway/internal/audit"
	"slipway/internal/auth/account"
	"slipway/internal/db"
)

// ListRobots implements the API.
func (s *server) ListRobots(ctx context.Context, _ ListRobotsRequestObject) (ListRobotsResponseObject, error) {
	list, err := account.Robots(s.DB.Read(ctx))
	robots := Robots{Robots: make([]Robot, len(list))}
	for i, r := range list {
		robots.Robots[i] = fromRobot(r)
	}
	return ListRobots200JSONResponse(robots), err
}

// CreateRobot implements the API.
func (s *server) CreateRobot(ctx context.Context, r CreateRobotRequestObject) (CreateRobotResponseObject, error) {
	var made account.Robot
	err := s.changeAccess(ctx, func(tx *db.Tx) ([]audit.Entry, error) {
		if err := account.CreateRobot(tx, r.Body.Name, valueOf(r.Body.Description)); err != nil {
			return nil, err
		}
		var err error
		made, _, err = account.RobotNamed(tx, r.Body.Name)
		return []audit.Entry{{Action: "robot.create", Subject: "robot:" + made.Name, Reason: made.Description}}, err
	})
	return CreateRobot201JSONResponse(fromRobot(made)), err
}

// UpdateRobot implements the API.
func (s *server) UpdateRobot(ctx context.Context, r UpdateRobotRequestObject) (UpdateRobotResponseObject, error) {
	var now account.Robot
	err := s.changeAccess(ctx, func(tx *db.Tx) (entries []audit.Entry, err error) {
		if d := r.Body.Disabled; d != nil {
			if err := account.SetRobotDisabled(tx, r.Robot, *d); err != nil {
				return nil, err
			}
			entries = []audit.Entry{{Action: ableText("robot", *d), Subject: "robot:" + r.Robot}}
		}
		var found bool
		if now, found, err = account.RobotNamed(tx, r.Robot); err == nil && !found {
			err = notFound("there is no robot %q", r.Robot)
		}
		return entries, err
	})
	return UpdateRobot200JSONResponse(fromRobot(now)), err
}

// DeleteRobot implements the API.
func (s *server) DeleteRobot(ctx context.Context, r DeleteRobotRequestObject) (DeleteRobotResponseObject, error) {
	return DeleteRobot204Response{}, s.changeAccess(ctx, func(tx *db.Tx) ([]audit.Entry, error) {
		return []audit.Entry{{Action: "robot.delete", Subject: "robot:" + r.Robot}}, account.DeleteRobot(tx, r.Robot)
	})
}

func fromRobot(r account.Robot) Robot {
	return Robot{Name: r.Name, Description: r.Description, Disabled: r.Disabled, CreatedAt: moment(r.Created), UsedAt: momentOr(r.Used)}
}
